"""The silhouettes: each class drawn in three forms and three proportions; use `draw_silhouette(name, variant)`.

A silhouette is a boolean mask on a square canvas [-1.25, 1.25]^2, y upwards, the object inside the unit square. A form is
a discrete choice (a mirrored handle, another number of points), a proportion a point (a, b) in the unit square. Variant v
has form v // 3 and proportion v % 3; the third proportion of each form is held out of training.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

CANVAS = 128  # pixels along the canvas's side
EXTENT = 1.25  # half the canvas's side, in units of the object
NUM_FORMS = 3
PROPORTIONS = ((0.0, 0.85), (1.0, 0.35), (0.5, 0.0))
NUM_VARIANTS = NUM_FORMS * len(PROPORTIONS)
HELD_OUT_VARIANTS = tuple(v for v in range(NUM_VARIANTS) if v % len(PROPORTIONS) == 2)
TRAINING_VARIANTS = tuple(v for v in range(NUM_VARIANTS) if v not in HELD_OUT_VARIANTS)

Mask = Bool[np.ndarray, "canvas canvas"]

_AXIS = ((np.arange(CANVAS) + 0.5) / CANVAS * 2 - 1) * EXTENT
_X, _Y = np.meshgrid(_AXIS, -_AXIS)


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _polygon(corners: Sequence[tuple[float, float]]) -> Mask:
    """Even-odd rule: a pixel is inside when a ray to the right crosses the boundary an odd number of times."""
    inside = np.zeros(_X.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if y0 == y1:
            continue
        crosses = (_Y < y0) != (_Y < y1)
        inside ^= crosses & (_X < x0 + (x1 - x0) * (_Y - y0) / (y1 - y0))
    return inside


def _ellipse(x: float, y: float, width: float, height: float) -> Mask:
    return ((_X - x) / width) ** 2 + ((_Y - y) / height) ** 2 < 1


def _disk(x: float, y: float, radius: float) -> Mask:
    return _ellipse(x, y, radius, radius)


def _annulus(x: float, y: float, radius: float, hole: float) -> Mask:
    return _disk(x, y, radius) & ~_disk(x, y, hole)


def _box(left: float, right: float, bottom: float, top: float) -> Mask:
    return (left < _X) & (right > _X) & (bottom < _Y) & (top > _Y)


def _stroke(points: Sequence[tuple[float, float]], width: float) -> Mask:
    """All pixels within half a width of the polyline through the points."""
    mask = np.zeros(_X.shape, bool)
    for (x0, y0), (x1, y1) in zip(points[:-1], points[1:], strict=True):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((_X - x0) * dx + (_Y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        mask |= (_X - x0 - along * dx) ** 2 + (_Y - y0 - along * dy) ** 2 < (width / 2) ** 2
    return mask


def _radial(radius: Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]) -> Mask:
    """Pixels nearer to the centre than radius(angle), the angle measured clockwise from the top."""
    return np.hypot(_X, _Y) < radius(np.arctan2(_X, _Y))


def _mirrored(mask: Mask) -> Mask:
    return mask[:, ::-1]


def _star(form: int, a: float, b: float) -> Mask:
    points = (5, 6, 4)[form]
    inner = _between(0.30, 0.50, a) * (0.95, 1.15, 0.85)[form]
    angle = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    star = _polygon(
        [(float(r * np.sin(t)), float(r * np.cos(t))) for r, t in zip(radius, angle, strict=True)]
    )
    return star & _disk(0, 0, _between(0.84, 1.0, b))


def _heart(form: int, a: float, b: float) -> Mask:
    lobe = _between(0.42, 0.52, a)
    tip = _between(-0.75, -0.98, b)
    lobes = _disk(-0.44, 0.35, lobe) | _disk(0.44, 0.35, lobe)
    side = 0.44 + lobe * 0.88
    if form == 1:  # slim, straight sides
        lobes = _ellipse(-0.36, 0.4, 0.38, lobe) | _ellipse(0.36, 0.4, 0.38, lobe)
        side = 0.70
    heart = lobes | _polygon([(-side, 0.18), (0, tip), (side, 0.18), (0, 0.55)])
    if form == 2:  # a heart-shaped locket: hollow
        inner = (
            _disk(-0.25, 0.3, 0.22)
            | _disk(0.25, 0.3, 0.22)
            | _polygon([(-0.44, 0.2), (0, -0.38), (0.44, 0.2), (0, 0.4)])
        )
        heart &= ~inner
    return heart


def _arrow(form: int, a: float, b: float) -> Mask:
    wing, shaft = _between(0.55, 0.85, a), _between(0.13, 0.30, b)
    if form == 1:  # open head of two strokes
        return _stroke([(-wing, 0.15), (0, 0.85), (wing, 0.15)], 0.2 + shaft / 3) | _stroke(
            [(0, 0.75), (0, -0.85)], 0.14 + shaft / 2
        )
    neck = 0.2 if form == 0 else 0.05
    head = _polygon(
        [(0, 0.95), (wing, neck - 0.2 * (form == 2)), (0, neck), (-wing, neck - 0.2 * (form == 2))]
    )
    arrow = head | _box(-shaft, shaft, -0.92, 0.3)
    if form == 2:  # a fletched tail
        arrow |= _polygon([(-0.5, -0.95), (0, -0.55), (0.5, -0.95), (0.5, -0.65), (0, -0.25), (-0.5, -0.65)])
    return arrow


def _moon(form: int, a: float, b: float) -> Mask:
    bite, shift = _between(0.62, 0.80, a), _between(0.28, 0.5, b)
    moon = _disk(0, 0, 0.92) & ~_disk(shift, (0.1, 0.1, 0.4)[form], bite)
    return _mirrored(moon) if form == 1 else moon


def _house(form: int, a: float, b: float) -> Mask:
    eaves, half = _between(-0.05, 0.25, a), (0.66, 0.58, 0.82)[form]
    roof = half + _between(0.06, 0.24, b)
    house = _box(-half, half, -0.85, eaves + 0.02) | _polygon(
        [(-roof, eaves), (0, (0.92, 0.95, 0.7)[form]), (roof, eaves)]
    )
    if form == 1:
        house |= _box(0.25, 0.48, 0.2, 0.95)
    if form == 2:
        return house & ~_box(-0.56, -0.2, -0.5, -0.12) & ~_box(0.2, 0.56, -0.5, -0.12)
    return house & ~_box(-0.16, 0.18, -0.9, -0.3)


def _tree(form: int, a: float, b: float) -> Mask:
    width, trunk = _between(0.6, 0.85, a), _between(0.09, 0.19, b)
    tiers = {
        0: [(-0.5, 0.35, 1.0), (0.0, 0.95, 0.75)],
        1: [(-0.55, 0.1, 1.0), (-0.15, 0.5, 0.8), (0.25, 0.95, 0.58)],
        2: [(-0.55, 0.95, 0.9)],
    }[form]
    tree = _box(-trunk, trunk, -0.95, -0.4)
    for bottom, top, share in tiers:
        tree |= _polygon([(-width * share, bottom), (0, top), (width * share, bottom)])
    return tree


def _fish(form: int, a: float, b: float) -> Mask:
    height, tail = _between(0.32, 0.50, a), _between(0.35, 0.6, b)
    fish = _ellipse(-0.2, 0, 0.72, height) & ~_disk(-0.58, 0.1, 0.09)
    if form == 2:  # forked tail and fins
        fish |= _polygon([(0.3, 0), (0.95, tail), (0.7, 0), (0.95, -tail)])
        fish |= _polygon([(-0.3, height * 0.8), (0.1, height + 0.28), (0.25, height * 0.6)])
        return fish
    fish |= _polygon([(0.32, 0), (0.92, tail), (0.92, -tail)])
    return _mirrored(fish) if form == 1 else fish


def _key(form: int, a: float, b: float) -> Mask:
    bow, bit = _between(0.34, 0.44, a), _between(0.26, 0.42, b)
    if form == 0:
        head = _annulus(0, 0.52, bow, bow - 0.22)
    elif form == 1:
        head = _box(-bow, bow, 0.52 - bow, 0.95) & ~_box(-bow + 0.2, bow - 0.2, 0.72 - bow, 0.75)
    else:
        lobes = ((-0.28, 0.38), (0.28, 0.38), (0.0, 0.72))
        head = np.logical_or.reduce([_annulus(x, y, bow * 0.75, 0.11) for x, y in lobes])
    key = (
        head
        | _box(-0.1, 0.1, -0.95, 0.52 - bow + 0.1)
        | _box(0, bit + 0.1, -0.92, -0.72)
        | _box(0, bit, -0.56, -0.38)
    )
    return _mirrored(key) if form == 1 else key


def _cup(form: int, a: float, b: float) -> Mask:
    base, handle = _between(0.28, 0.5, a), _between(0.30, 0.42, b)
    if form == 2:  # a tea cup on a saucer
        cup = (_ellipse(-0.12, 0.45, 0.66, _between(0.75, 0.95, a)) & (_Y < 0.45)) | _ellipse(
            -0.1, -0.68, 0.85, 0.13
        )
        return cup | (_annulus(0.55, 0.15, handle * 0.85, handle * 0.45) & (_X > 0.45))
    cup = _polygon([(-0.68, 0.75), (0.4, 0.75), (base - 0.14, -0.8), (-base - 0.14, -0.8)])
    cup |= _annulus(0.42, 0.1, handle + 0.1, handle - 0.1) & (_X > 0.25)
    return _mirrored(cup) if form == 1 else cup


def _bolt(form: int, a: float, b: float) -> Mask:
    jog, width = _between(0.0, 0.2, a), _between(0.0, 0.14, b)
    if form == 2:  # one more zigzag
        return _polygon([
            (-0.1 + width, 0.98), (-0.62, 0.3), (-0.28, 0.28), (-0.45 - width, -0.28 - jog), (-0.1, -0.3 - jog), (-0.2, -0.98),
            (0.62, -0.05), (0.28, -0.02), (0.58 + width, 0.42), (0.22, 0.44), (0.5 + width, 0.98),
        ])  # fmt: skip
    bolt = _polygon([
        (0.1 - width, 0.95), (-0.6 - width, -0.08 - jog), (-0.06, -0.08 - jog), (-0.32, -0.95), (0.6 + width, 0.2 - jog),
        (0.1, 0.2 - jog), (0.52, 0.95),
    ])  # fmt: skip
    return _mirrored(bolt) if form == 1 else bolt


def _gear(form: int, a: float, b: float) -> Mask:
    teeth, depth = (8, 10, 6)[form], _between(0.13, 0.22, b)
    return _radial(lambda t: 0.92 - depth + depth * np.tanh(4 * np.cos(teeth * t))) & ~_disk(
        0, 0, _between(0.2, 0.36, a)
    )


def _ring(form: int, a: float, b: float) -> Mask:
    hole = _between(0.48, 0.68, a)
    if form == 1:  # an oval hoop
        flat = _between(0.62, 0.8, b)
        return _ellipse(0, 0, 0.95, flat) & ~_ellipse(0, 0, 0.95 * hole + 0.12, flat * hole)
    if form == 2:  # with a stone
        top = _between(0.85, 1.0, b)
        return _annulus(0, -0.22, 0.72, hole * 0.78) | _polygon(
            [(-0.34, top - 0.2), (-0.18, top), (0.18, top), (0.34, top - 0.2), (0, 0.3)]
        )
    return _annulus(0, 0, _between(0.85, 0.95, b), hole)


def _cross(form: int, a: float, b: float) -> Mask:
    half, reach = _between(0.17, 0.33, a), _between(0.8, 0.95, b)
    if form == 1:  # the lower arm longer
        return _box(-half * 0.8, half * 0.8, -0.95, 0.95) | _box(
            -0.75 * reach, 0.75 * reach, 0.3 - half * 0.8, 0.3 + half * 0.8
        )
    if form == 2:  # arms widen outwards
        arm = [(-half * 0.45, 0.0), (-half - 0.14, reach), (half + 0.14, reach), (half * 0.45, 0.0)]
        turned = [(y, -x) for x, y in arm]
        return _polygon(arm) | _polygon(turned) | _polygon(arm)[::-1] | _polygon(turned)[:, ::-1]
    return _box(-reach, reach, -half, half) | _box(-half, half, -reach, reach)


def _umbrella(form: int, a: float, b: float) -> Mask:
    height, hook = _between(0.65, 0.9, a), _between(0.18, 0.28, b)
    canopy = _ellipse(0, 0.05, 0.95, height) & (_Y > 0.05)
    scallops = (3, 2, 4)[form]
    for i in range(scallops):
        canopy &= ~_ellipse((2 * i + 1 - scallops) * 0.95 / scallops, 0.05, 0.86 / scallops, 0.22)
    handle = _box(-0.07, 0.07, -0.72, 0.3) | (_annulus(hook - 0.05, -0.7, hook, hook - 0.13) & (_Y < -0.68))
    handle |= _box(-0.04, 0.04, height - 0.05, height + 0.15)
    return canopy | (_mirrored(handle) if form == 1 else handle)


def _mushroom(form: int, a: float, b: float) -> Mask:
    stem, flare = _between(0.16, 0.32, a), _between(0.0, 0.16, b)
    brim = (0.05, -0.05, 0.25)[form]
    stalk = _polygon(
        [(-stem, brim + 0.05), (stem, brim + 0.05), (stem + flare, -0.85), (-stem - flare, -0.85)]
    )
    if form == 1:  # a pointed cap
        return stalk | _polygon([(-0.85, brim), (-0.35, 0.55), (0, 0.95), (0.35, 0.55), (0.85, brim)])
    cap = _ellipse(0, brim, 0.92, (0.82, 0, 0.58)[form]) & (brim < _Y)
    if form == 2:  # a flat spotted cap
        cap &= ~_disk(-0.42, 0.48, 0.12) & ~_disk(0.06, 0.6, 0.12) & ~_disk(0.5, 0.44, 0.1)
    return stalk | cap


def _bottle(form: int, a: float, b: float) -> Mask:
    body, neck = _between(0.3, 0.44, a), _between(0.11, 0.18, b)
    if form == 1:  # a conical flask
        wide = body + 0.3
        return _polygon(
            [(-neck, 0.9), (neck, 0.9), (neck, 0.25), (wide, -0.9), (-wide, -0.9), (-neck, 0.25)]
        ) | _box(-neck - 0.1, neck + 0.1, 0.8, 0.95)
    bottle = _box(-body, body, -0.92, 0.12) | _ellipse(0, 0.12, body, 0.32) | _box(-neck, neck, 0.2, 0.95)
    if form == 2:  # a blank label and a cap
        bottle &= ~_box(-body + 0.12, body - 0.12, -0.6, -0.1)
        bottle |= _box(-neck - 0.08, neck + 0.08, 0.78, 0.95)
    return bottle


def _hourglass(form: int, a: float, b: float) -> Mask:
    half, waist = _between(0.5, 0.72, a), _between(0.05, 0.14, b)
    if form == 1:  # round bulbs between plates
        glass = (
            _ellipse(0, 0.42, half * 0.85, 0.46)
            | _ellipse(0, -0.42, half * 0.85, 0.46)
            | _box(-waist, waist, -0.2, 0.2)
        )
    else:
        glass = _polygon(
            [(-half, 0.88), (half, 0.88), (waist, 0), (half, -0.88), (-half, -0.88), (-waist, 0)]
        )
    if form == 0:
        return glass
    plates = _box(-half - 0.14, half + 0.14, 0.8, 0.97) | _box(-half - 0.14, half + 0.14, -0.97, -0.8)
    if form == 2:  # a frame with posts
        plates |= _box(-half - 0.12, -half + 0.02, -0.9, 0.9) | _box(half - 0.02, half + 0.12, -0.9, 0.9)
    return glass | plates


def _anchor(form: int, a: float, b: float) -> Mask:
    thick, bar = _between(0.14, 0.22, a), _between(0.32, 0.5, b)
    anchor = (
        _annulus(0, 0.72, 0.25, 0.11)
        | _box(-thick / 2, thick / 2, -0.85, 0.55)
        | _box(-bar, bar, 0.24, 0.24 + thick)
    )
    if form == 2:  # straight arms
        return anchor | _stroke([(-0.82, -0.2), (0, -0.85), (0.82, -0.2)], thick + 0.04)
    anchor |= _annulus(0, -0.08, 0.84, 0.84 - thick - 0.04) & (_Y < -0.12)
    if form == 1:  # flukes
        fluke = _polygon([(-1.0, -0.25), (-0.72, 0.12), (-0.5, -0.3)])
        anchor |= fluke | _mirrored(fluke)
    return anchor


def _flower(form: int, a: float, b: float) -> Mask:
    hole = _between(0.12, 0.22, b)
    if form == 0:  # five round petals
        angles = np.arange(5) * 2 * np.pi / 5
        size = _between(0.30, 0.38, a)
        petals = np.logical_or.reduce(
            [_disk(0.58 * float(np.sin(t)), 0.58 * float(np.cos(t)), size) for t in angles]
        )
        return (petals | _disk(0, 0, 0.4)) & ~_disk(0, 0, hole)
    if form == 1:  # six slender petals
        return _radial(lambda t: _between(0.5, 0.62, a) + 0.34 * np.cos(6 * t)) & ~_disk(0, 0, hole)
    size = _between(0.17, 0.22, a)  # a stemmed flower
    centers = [(0.34 * float(np.sin(t)), 0.42 + 0.34 * float(np.cos(t))) for t in np.arange(6) * np.pi / 3]
    flower = np.logical_or.reduce([_disk(x, y, size) for x, y in centers]) | _annulus(0, 0.42, 0.3, hole)
    return (
        flower
        | _box(-0.06, 0.06, -0.95, 0.15)
        | _ellipse(0.28, -0.55, 0.27, 0.12)
        | _ellipse(-0.28, -0.7, 0.27, 0.12)
    )


def _drop(form: int, a: float, b: float) -> Mask:
    radius, tip = _between(0.46, 0.64, a), _between(0.75, 0.98, b)
    lean = (0.0, 0.35, 0.0)[form]
    drop = _disk(0, -0.3, radius) | _polygon([(-radius * 0.95, -0.15), (lean, tip), (radius * 0.95, -0.15)])
    if form == 2:  # a highlight
        drop &= ~(_annulus(0, -0.3, radius - 0.12, radius - 0.26) & (_X < -0.05) & (_Y < -0.2))
    return drop


def _flag(form: int, a: float, b: float) -> Mask:
    wave = np.abs(_Y - 0.4 - _between(0.04, 0.14, a) * np.sin((4 + form) * _X)) < _between(0.32, 0.46, b)
    return _box(-0.7, -0.54, -0.95, 0.95) | (wave & (_X > -0.6) & (_X < 0.85))


def _crown(form: int, a: float, b: float) -> Mask:
    dip, top = _between(0.0, 0.25, a), _between(0.55, 0.85, b) - 0.1 * form
    return _polygon(
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
    hull = _polygon([(-0.9, -0.35), (0.9, -0.35), (_between(0.4, 0.65, a), -0.8), (-0.55, -0.8)])
    sails = _polygon([(-0.03, 0.9), (-0.03, -0.22), (-_between(0.6, 0.85, b), -0.22)])
    return hull | sails | (_polygon([(0.1, 0.6), (0.1, -0.22), (0.7, -0.22)]) if form else hull)


def _rocket(form: int, a: float, b: float) -> Mask:
    fins = _polygon([(-0.7, -0.8), (0, -0.1 + 0.1 * form), (0.7, -0.8), (0, -0.5)])
    return (_ellipse(0, 0.15, _between(0.26, 0.38, a), 0.8) & ~_disk(0, 0.3, 0.08 + 0.06 * b)) | fins


def _bell(form: int, a: float, b: float) -> Mask:
    rim = _between(0.72, 0.9, a)
    bell = (_ellipse(0, 0.05, 0.52, 0.8) & (_Y > 0)) | _polygon(
        [(-0.52, 0.05), (0.52, 0.05), (rim, -0.55), (-rim, -0.55)]
    )
    return bell | _disk(0, -0.66, 0.14 + 0.06 * b) | _disk(0, 0.85, 0.08 + 0.03 * form)


def _cloud(form: int, a: float, b: float) -> Mask:
    puffs = [(-0.45, -0.12, 0.4), (0.0, 0.15, _between(0.42, 0.55, a)), (0.48, -0.1, _between(0.3, 0.4, b))]
    return np.logical_or.reduce([_disk(x, y + 0.05 * form, r) for x, y, r in puffs]) | _box(
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
