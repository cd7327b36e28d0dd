"""Scenes of the world of shapes, drawn by Hypothesis."""

from hypothesis import strategies as st

from aimv2_np.data.world import COLORS, RELATIONS, SHAPES, SIZES, Scene, Thing

seeds = st.integers(0, 2**32 - 1)
things = st.builds(Thing, st.sampled_from(SHAPES), st.sampled_from(COLORS), st.sampled_from(SIZES))
singles = things.map(lambda thing: Scene((thing,)))
doubles = st.builds(
    lambda pair, relation: Scene(tuple(pair), relation),
    st.lists(things, min_size=2, max_size=2, unique=True),
    st.sampled_from(RELATIONS),
)
scenes = singles | doubles
