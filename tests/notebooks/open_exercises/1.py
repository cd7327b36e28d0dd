def lost_with(count):
    answers = others @ W[:count].T
    return share(others - answers @ np.linalg.lstsq(answers, others, rcond=None)[0], others)


answer = str(next(count for count in range(1, 129) if lost_with(count) < 0.1))
