x, mu, nu = np.zeros(1), 0, 0
for t in range(1, 1001):
    if t == 101:
        before = x.copy()
    x, mu, nu = adamw(x, np.full(1, float(t <= 100)), mu, nu, t, 1.0, 1.0, decay=0)
answer = f"{(before - x)[0]:.1f}"
