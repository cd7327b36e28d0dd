biggest = released["apple/aimv2-3B-patch14-448"].config()
shapes = [array.shape for array in Aimv2VisionModel.skeleton(biggest).state_dict().values()]
size = sum(math.prod(shape) + 4 * shape[0] if len(shape) > 1 else 4 * shape[0] for shape in shapes)
answer = f"{size / 1e9:.2f} GB"
