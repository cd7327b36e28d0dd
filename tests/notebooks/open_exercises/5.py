of_shape = [world.caption(world.Scene((world.Thing(name),))) for name in world.SHAPES]
vectors = model(**processor(text=of_shape, padding=True)).text_embeds
named = (normalise(pooled @ model.visual_projection.weight.T) @ vectors.T).argmax(axis=1)
answer = f"{100 * (named == truth % 8).mean():.0f} %"
