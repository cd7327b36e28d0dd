row = sincos(1, 64, 1024)
answer = str((row @ row[0] / 512 < 0.9).argmax())
