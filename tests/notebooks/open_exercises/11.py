above = ((true[:, 6:-6] - true[:, 12:]) ** 2).mean()
answer = f"{above:.2f}"
