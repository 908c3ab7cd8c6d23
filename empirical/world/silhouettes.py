"""The silhouettes: each class drawn in three forms and three proportions; use `draw_silhouette(name, variant)`.

A silhouette is a boolean mask on a square canvas [-1.25, 1.25]^2, y upwards, the object inside the unit square. A form is
a discrete choice (a mirrored handle, another number of points), a proportion a point (a, b) in the unit square. Variant v
has form v // 3 and proportion v % 3; the third proportion of each form is held out of training.
"""

from collections.abc import Callable

import numpy as np

from empirical.world.shapes import (
    Mask,
    X,
    Y,
    annulus,
    between,
    box,
    disk,
    ellipse,
    mirrored,
    polygon,
    radial,
    stroke,
)

NUM_FORMS = 3
PROPORTIONS = ((0.0, 0.85), (1.0, 0.35), (0.5, 0.0))
NUM_VARIANTS = NUM_FORMS * len(PROPORTIONS)
HELD_OUT_VARIANTS = tuple(v for v in range(NUM_VARIANTS) if v % len(PROPORTIONS) == 2)
TRAINING_VARIANTS = tuple(v for v in range(NUM_VARIANTS) if v not in HELD_OUT_VARIANTS)


def _star(form: int, a: float, b: float) -> Mask:
    points = (5, 6, 4)[form]
    inner = between(0.30, 0.50, a) * (0.95, 1.15, 0.85)[form]
    angle = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    star = polygon([(float(r * np.sin(t)), float(r * np.cos(t))) for r, t in zip(radius, angle, strict=True)])
    return star & disk(0, 0, between(0.84, 1.0, b))


def _heart(form: int, a: float, b: float) -> Mask:
    lobe = between(0.42, 0.52, a)
    tip = between(-0.75, -0.98, b)
    lobes = disk(-0.44, 0.35, lobe) | disk(0.44, 0.35, lobe)
    side = 0.44 + lobe * 0.88
    if form == 1:  # slim, straight sides
        slim = between(0.62, 0.84, b)
        lobes = ellipse(-slim / 2, 0.4, slim * 0.53, lobe) | ellipse(slim / 2, 0.4, slim * 0.53, lobe)
        side = slim * 0.98
    heart = lobes | polygon([(-side, 0.18), (0, tip), (side, 0.18), (0, 0.55)])
    if form == 2:  # a heart-shaped locket: hollow
        inner = (
            disk(-0.25, 0.3, 0.22)
            | disk(0.25, 0.3, 0.22)
            | polygon([(-0.44, 0.2), (0, -0.38), (0.44, 0.2), (0, 0.4)])
        )
        heart &= ~inner
    return heart


def _arrow(form: int, a: float, b: float) -> Mask:
    wing, shaft = between(0.55, 0.85, a), between(0.13, 0.30, b)
    if form == 1:  # open head of two strokes
        return stroke([(-wing, 0.15), (0, 0.85), (wing, 0.15)], 0.2 + shaft / 3) | stroke(
            [(0, 0.75), (0, -0.85)], 0.14 + shaft / 2
        )
    if form == 2:  # a head at either end
        head = polygon([(0, 0.95), (wing * 0.85, 0.3), (-wing * 0.85, 0.3)])
        return head | head[::-1] | box(-shaft * 0.85, shaft * 0.85, -0.4, 0.4)
    return polygon([(0, 0.95), (wing, 0.2), (-wing, 0.2)]) | box(-shaft, shaft, -0.92, 0.3)


def _moon(form: int, a: float, b: float) -> Mask:
    bite, shift = between(0.62, 0.80, a), between(0.28, 0.5, b)
    moon = disk(0, 0, 0.92) & ~disk(shift, (0.1, 0.1, 0.4)[form], bite)
    return mirrored(moon) if form == 1 else moon


def _house(form: int, a: float, b: float) -> Mask:
    eaves, half = between(-0.25, 0.25, a), (0.66, 0.58, 0.76)[form] * between(0.86, 1.06, b)
    roof = half + between(0.06, 0.2, b)
    house = box(-half, half, -0.85, eaves + 0.02) | polygon(
        [(-roof, eaves), (0, (0.92, 0.95, 0.7)[form]), (roof, eaves)]
    )
    if form == 1:
        house |= box(0.25, 0.48, 0.2, 0.95)
    if form == 2:
        return house & ~box(-0.5, -0.16, -0.66, -0.32) & ~box(0.16, 0.5, -0.66, -0.32)
    return house & ~box(-0.16, 0.18, -0.9, -0.36)


def _tree(form: int, a: float, b: float) -> Mask:
    width, trunk = between(0.6, 0.85, a), between(0.09, 0.19, b)
    tiers = {
        0: [(-0.5, 0.35, 1.0), (0.0, 0.95, 0.75)],
        1: [(-0.55, 0.1, 1.0), (-0.15, 0.5, 0.8), (0.25, 0.95, 0.58)],
        2: [(-0.55, 0.95, 0.9)],
    }[form]
    tree = box(-trunk, trunk, -0.95, -0.4)
    for bottom, top, share in tiers:
        tree |= polygon([(-width * share, bottom), (0, top), (width * share, bottom)])
    return tree


def _fish(form: int, a: float, b: float) -> Mask:
    height, tail = between(0.32, 0.50, a), between(0.35, 0.6, b)
    fish = ellipse(-0.2, 0, 0.72, height) & ~disk(-0.58, 0.1, 0.09)
    if form == 2:  # forked tail and fins
        fish |= polygon([(0.3, 0), (0.95, tail), (0.7, 0), (0.95, -tail)])
        fish |= polygon([(-0.3, height * 0.8), (0.1, height + 0.28), (0.25, height * 0.6)])
        return fish
    fish |= polygon([(0.32, 0), (0.92, tail), (0.92, -tail)])
    return mirrored(fish) if form == 1 else fish


def _key(form: int, a: float, b: float) -> Mask:
    bow, bit = between(0.34, 0.44, a), between(0.26, 0.42, b)
    if form == 0:
        head = annulus(0, 0.52, bow, bow - 0.22)
    elif form == 1:
        head = box(-bow, bow, 0.52 - bow, 0.95) & ~box(-bow + 0.2, bow - 0.2, 0.72 - bow, 0.75)
    else:
        lobes = ((-0.28, 0.38), (0.28, 0.38), (0.0, 0.72))
        head = np.logical_or.reduce([annulus(x, y, bow * 0.75, 0.11) for x, y in lobes])
    key = (
        head
        | box(-0.1, 0.1, -0.95, 0.52 - bow + 0.1)
        | box(0, bit + 0.1, -0.92, -0.72)
        | box(0, bit, -0.56, -0.38)
    )
    return mirrored(key) if form == 1 else key


def _cup(form: int, a: float, b: float) -> Mask:
    base, handle = between(0.28, 0.5, a), between(0.30, 0.42, b)
    if form == 2:  # a tea cup on a saucer
        cup = (ellipse(-0.12, 0.45, 0.66, between(0.75, 0.95, a)) & (Y < 0.45)) | ellipse(
            -0.1, -0.68, 0.85, 0.13
        )
        return cup | (annulus(0.55, 0.15, handle * 0.85, handle * 0.45) & (X > 0.45))
    cup = polygon([(-0.68, 0.75), (0.4, 0.75), (base - 0.14, -0.8), (-base - 0.14, -0.8)])
    cup |= annulus(0.42, 0.1, handle + 0.1, handle - 0.1) & (X > 0.25)
    return mirrored(cup) if form == 1 else cup


def _bolt(form: int, a: float, b: float) -> Mask:
    jog, width = between(0.0, 0.2, a), between(0.0, 0.14, b)
    if form == 2:  # one more zigzag
        width = between(-0.06, 0.2, b)
        return polygon([
            (-0.1 + width, 0.98), (-0.62, 0.3), (-0.28, 0.28), (-0.45 - width, -0.28 - jog), (-0.1, -0.3 - jog), (-0.2, -0.98),
            (0.62, -0.05), (0.28, -0.02), (0.58 + width, 0.42), (0.22, 0.44), (0.5 + width, 0.98),
        ])  # fmt: skip
    bolt = polygon([
        (0.1 - width, 0.95), (-0.6 - width, -0.08 - jog), (-0.06, -0.08 - jog), (-0.32, -0.95), (0.6 + width, 0.2 - jog),
        (0.1, 0.2 - jog), (0.52, 0.95),
    ])  # fmt: skip
    return mirrored(bolt) if form == 1 else bolt


def _gear(form: int, a: float, b: float) -> Mask:
    teeth, depth = (8, 10, 6)[form], between(0.13, 0.22, b)
    return radial(lambda t: 0.92 - depth + depth * np.tanh(4 * np.cos(teeth * t))) & ~disk(
        0, 0, between(0.2, 0.36, a)
    )


def _ring(form: int, a: float, b: float) -> Mask:
    hole = between(0.48, 0.68, a)
    if form == 1:  # an oval hoop
        flat = between(0.62, 0.8, b)
        return ellipse(0, 0, 0.95, flat) & ~ellipse(0, 0, 0.95 * hole + 0.12, flat * hole)
    if form == 2:  # with a stone
        top = between(0.85, 1.0, b)
        return annulus(0, -0.22, 0.72, hole * 0.78) | polygon(
            [(-0.34, top - 0.2), (-0.18, top), (0.18, top), (0.34, top - 0.2), (0, 0.3)]
        )
    return annulus(0, 0, between(0.85, 0.95, b), hole)


def _cross(form: int, a: float, b: float) -> Mask:
    half, reach = between(0.17, 0.33, a), between(0.8, 0.95, b)
    if form == 1:  # the lower arm longer
        return box(-half * 0.8, half * 0.8, -0.95, 0.95) | box(
            -0.75 * reach, 0.75 * reach, 0.3 - half * 0.8, 0.3 + half * 0.8
        )
    if form == 2:  # arms widen outwards
        arm = [(-half * 0.45, 0.0), (-half - 0.14, reach), (half + 0.14, reach), (half * 0.45, 0.0)]
        turned = [(y, -x) for x, y in arm]
        return polygon(arm) | polygon(turned) | polygon(arm)[::-1] | polygon(turned)[:, ::-1]
    return box(-reach, reach, -half, half) | box(-half, half, -reach, reach)


def _umbrella(form: int, a: float, b: float) -> Mask:
    height, hook = between(0.65, 0.9, a), between(0.18, 0.28, b)
    canopy = ellipse(0, 0.05, 0.95, height) & (Y > 0.05)
    scallops = (3, 2, 4)[form]
    for i in range(scallops):
        canopy &= ~ellipse((2 * i + 1 - scallops) * 0.95 / scallops, 0.05, 0.86 / scallops, 0.22)
    handle = box(-0.07, 0.07, -0.72, 0.3) | (annulus(hook - 0.05, -0.7, hook, hook - 0.13) & (Y < -0.68))
    handle |= box(-0.04, 0.04, height - 0.05, height + 0.15)
    return canopy | (mirrored(handle) if form == 1 else handle)


def _mushroom(form: int, a: float, b: float) -> Mask:
    stem, flare, wide = between(0.13, 0.36, a), between(0.0, 0.16, b), between(0.84, 1.0, b)
    brim = (-0.02, -0.2, 0.25)[form]
    stalk = polygon([(-stem, brim + 0.05), (stem, brim + 0.05), (stem + flare, -0.9), (-stem - flare, -0.9)])
    if form == 1:  # a tall cap, and a skirt on the stem
        cap = ellipse(0, brim, wide * 0.78, 1.12) & (brim < Y)
        return stalk | cap | ellipse(0, -0.55, stem + 0.14, 0.09)
    cap = ellipse(0, brim, wide, (0.82, 0, 0.58)[form]) & (brim < Y)
    if form == 2:  # a flat spotted cap
        cap &= ~disk(-0.4, 0.46, 0.12) & ~disk(0.05, 0.6, 0.12) & ~disk(0.44, 0.43, 0.1)
    return stalk | cap


def _bottle(form: int, a: float, b: float) -> Mask:
    body, neck = between(0.3, 0.44, a), between(0.11, 0.18, b)
    if form == 1:  # a conical flask
        wide = body + 0.3
        return polygon(
            [(-neck, 0.9), (neck, 0.9), (neck, 0.25), (wide, -0.9), (-wide, -0.9), (-neck, 0.25)]
        ) | box(-neck - 0.1, neck + 0.1, 0.8, 0.95)
    bottle = box(-body, body, -0.92, 0.12) | ellipse(0, 0.12, body, 0.32) | box(-neck, neck, 0.2, 0.95)
    if form == 2:  # a blank label and a cap
        bottle &= ~box(-body + 0.12, body - 0.12, -0.6, -0.1)
        bottle |= box(-neck - 0.08, neck + 0.08, 0.78, 0.95)
    return bottle


def _hourglass(form: int, a: float, b: float) -> Mask:
    half, waist = between(0.5, 0.72, a), between(0.05, 0.14, b)
    if form == 1:  # round bulbs between plates
        glass = (
            ellipse(0, 0.42, half * 0.85, 0.46)
            | ellipse(0, -0.42, half * 0.85, 0.46)
            | box(-waist, waist, -0.2, 0.2)
        )
    else:
        glass = polygon([(-half, 0.88), (half, 0.88), (waist, 0), (half, -0.88), (-half, -0.88), (-waist, 0)])
    if form == 0:
        return glass
    plates = box(-half - 0.14, half + 0.14, 0.8, 0.97) | box(-half - 0.14, half + 0.14, -0.97, -0.8)
    if form == 2:  # a frame with posts
        plates |= box(-half - 0.12, -half + 0.02, -0.9, 0.9) | box(half - 0.02, half + 0.12, -0.9, 0.9)
    return glass | plates


def _anchor(form: int, a: float, b: float) -> Mask:
    thick, bar = between(0.14, 0.22, a), between(0.32, 0.5, b)
    anchor = (
        annulus(0, 0.72, 0.25, 0.11)
        | box(-thick / 2, thick / 2, -0.85, 0.55)
        | box(-bar, bar, 0.24, 0.24 + thick)
    )
    if form == 2:  # straight arms
        return anchor | stroke([(-0.82, -0.2), (0, -0.85), (0.82, -0.2)], thick + 0.04)
    anchor |= annulus(0, -0.08, 0.84, 0.84 - thick - 0.04) & (Y < -0.12)
    if form == 1:  # flukes
        fluke = polygon([(-1.0, -0.25), (-0.72, 0.12), (-0.5, -0.3)])
        anchor |= fluke | mirrored(fluke)
    return anchor


def _flower(form: int, a: float, b: float) -> Mask:
    hole = between(0.12, 0.22, b)
    if form == 0:  # five round petals
        angles = np.arange(5) * 2 * np.pi / 5
        size = between(0.30, 0.38, a)
        petals = np.logical_or.reduce(
            [disk(0.58 * float(np.sin(t)), 0.58 * float(np.cos(t)), size) for t in angles]
        )
        return (petals | disk(0, 0, 0.4)) & ~disk(0, 0, hole)
    if form == 1:  # six slender petals
        return radial(lambda t: between(0.5, 0.62, a) + 0.34 * np.cos(6 * t)) & ~disk(0, 0, hole)
    size = between(0.21, 0.27, a)  # a stemmed flower with two leaves
    angles = np.arange(5) * 2 * np.pi / 5
    petals = [disk(0.4 * float(np.sin(t)), 0.33 + 0.4 * float(np.cos(t)), size) for t in angles]
    head = (np.logical_or.reduce(petals) | disk(0, 0.33, 0.36)) & ~disk(0, 0.33, hole)
    leaf = ellipse(0.34, -0.62, 0.34, 0.13)
    return head | box(-0.06, 0.06, -0.95, 0.0) | leaf | mirrored(leaf)


def _drop(form: int, a: float, b: float) -> Mask:
    radius, tip = between(0.46, 0.64, a), between(0.75, 0.98, b)
    lean = (0.0, 0.35, 0.0)[form]
    drop = disk(0, -0.3, radius) | polygon([(-radius * 0.95, -0.15), (lean, tip), (radius * 0.95, -0.15)])
    if form == 2:  # a highlight
        drop &= ~(annulus(0, -0.3, radius - 0.1, radius - 0.28) & (X < 0.02) & (Y < -0.15))
    return drop


def _flag(form: int, a: float, b: float) -> Mask:
    wave = np.abs(Y - 0.4 - between(0.04, 0.14, a) * np.sin((4 + form) * X)) < between(0.32, 0.46, b)
    return box(-0.7, -0.54, -0.95, 0.95) | (wave & (X > -0.6) & (X < 0.85))


def _crown(form: int, a: float, b: float) -> Mask:
    dip, top = between(0.0, 0.25, a), between(0.55, 0.85, b) - 0.1 * form
    return polygon(
        [
            (-0.85, -0.6),
            (0.85, -0.6),
            (0.95, 0.55),
            (0.45, dip - 0.1),
            (0, top),
            (-0.45, dip - 0.1),
            (-0.95, 0.55),
        ]
    )


def _boat(form: int, a: float, b: float) -> Mask:
    hull = polygon([(-0.9, -0.35), (0.9, -0.35), (between(0.4, 0.65, a), -0.8), (-0.55, -0.8)])
    sails = polygon([(-0.03, 0.9), (-0.03, -0.22), (-between(0.6, 0.85, b), -0.22)])
    return hull | sails | (polygon([(0.1, 0.6), (0.1, -0.22), (0.7, -0.22)]) if form else hull)


def _rocket(form: int, a: float, b: float) -> Mask:
    fins = polygon([(-0.7, -0.8), (0, -0.1 + 0.1 * form), (0.7, -0.8), (0, -0.5)])
    return (ellipse(0, 0.15, between(0.26, 0.38, a), 0.8) & ~disk(0, 0.3, 0.08 + 0.06 * b)) | fins


def _bell(form: int, a: float, b: float) -> Mask:
    rim = between(0.72, 0.9, a)
    bell = (ellipse(0, 0.05, 0.52, 0.8) & (Y > 0)) | polygon(
        [(-0.52, 0.05), (0.52, 0.05), (rim, -0.55), (-rim, -0.55)]
    )
    return bell | disk(0, -0.66, 0.14 + 0.06 * b) | disk(0, 0.85, 0.08 + 0.03 * form)


def _cloud(form: int, a: float, b: float) -> Mask:
    puffs = [(-0.45, -0.12, 0.4), (0.0, 0.15, between(0.42, 0.55, a)), (0.48, -0.1, between(0.3, 0.4, b))]
    return np.logical_or.reduce([disk(x, y + 0.05 * form, r) for x, y, r in puffs]) | box(
        -0.5, 0.5, -0.5, -0.08
    )


_SILHOUETTES: dict[str, Callable[[int, float, float], Mask]] = {
    function.__name__.removeprefix("_"): function
    for function in (
        _star, _heart, _arrow, _moon, _house, _tree, _fish, _key, _cup, _bolt, _gear, _ring, _cross, _umbrella, _mushroom,
        _bottle, _hourglass, _anchor, _flower, _drop, _flag, _crown, _boat, _rocket, _bell, _cloud,
    )
}  # fmt: skip
SILHOUETTE_NAMES = tuple(_SILHOUETTES)


def draw_silhouette(name: str, variant: int) -> Mask:
    """Mask of one silhouette, True inside.

    Args: name, one of `SILHOUETTE_NAMES`; variant in 0..NUM_VARIANTS-1 (form = variant // 3, proportion = variant % 3).
    Raises: ValueError for an unknown name or variant.
    """
    if name not in _SILHOUETTES:
        raise ValueError(f"unknown silhouette {name!r}; the names are {', '.join(SILHOUETTE_NAMES)}")
    if not 0 <= variant < NUM_VARIANTS:
        raise ValueError(f"variant must be in 0..{NUM_VARIANTS - 1}, got {variant}")
    form, proportion = divmod(variant, len(PROPORTIONS))
    return _SILHOUETTES[name](form, *PROPORTIONS[proportion])
