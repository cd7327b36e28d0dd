from math import ceil

answer = str(ceil(5 * 1_281_167 / 1024))
