n = 1024
work = K * (8 * n * D**2 + 6 * n * D * F + 4 * n**2 * D) + 2 * n * 3 * P**2 * D
answer = f"{work / flop:.2f}"
