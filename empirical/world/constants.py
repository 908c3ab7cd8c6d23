"""Every number and word that decides the world's pixels and captions, in one place; use `WORLD` for all of them at once.

The hash of these constants (`empirical.world.WORLD_HASH`) seeds every random stream and goes into every record: changing
one of them makes a new world, which needs new seeds and a CHANGELOG line with the results it discards. A change of the
renderer's code that moves pixels without touching a constant must raise `RENDERER_VERSION`.
"""

from dataclasses import dataclass, field

from empirical.world.specs import SOURCES, TEMPLATES, TEST_SETS, SourceSpec, TestSetSpec

Range = tuple[float, float]

RENDERER_VERSION = 1
BLOCK_SIZE = (
    256  # images rendered together from one seed; part of the world, since streams are drawn per block
)

STYLE_NAMES = ("photo", "sketch", "cartoon", "neon")
VIEW_NAMES = ("canonical", "v2", "odd")


@dataclass(frozen=True)
class ImageClass:
    """A class of the world: its silhouette's name, a synonym captions may use and the colour typical of it."""

    name: str
    synonym: str
    typical_color: str


@dataclass(frozen=True)
class Color:
    """A named colour in hue, saturation, value (each in [0, 1])."""

    name: str
    hue: float
    saturation: float
    value: float


@dataclass(frozen=True)
class Background:
    """A photo background that captions can name: the range of its brightness and how much clutter it holds."""

    name: str
    value: Range
    clutter: float
    texture: float


@dataclass(frozen=True)
class View:
    """How an object is seen: half-widths of the uniform pose parameters, and what photos of it suffer from."""

    name: str
    rotation: float  # radians
    scale: Range  # of half the image
    offset: float  # of half the image
    shear: float
    occluded: float  # probability of an occluder, photos only
    clutter: float  # expected number of background objects, photos only
    noise: float  # standard deviation of pixel noise (white = 1), photos only
    contrast: float  # photos only


@dataclass(frozen=True)
class Pose:
    """Pose limits shared by all views."""

    aspect: float = 0.14  # half-width of log(width / height)


@dataclass(frozen=True)
class Jitter:
    """How far an object's colour strays from its named colour (hue, saturation, value)."""

    hue: Range = (-0.02, 0.02)
    saturation: Range = (-0.15, 0.10)
    value: Range = (-0.15, 0.05)


@dataclass(frozen=True)
class PhotoStyle:
    """Shaded fill on a textured, cluttered background with sensor noise."""

    background_saturation: Range = (0.0, 0.32)
    color_blotches: float = 0.04
    grain: Range = (0.0, 0.05)
    clutter_count: int = 3
    clutter_size: Range = (0.14, 0.38)
    clutter_saturation: Range = (0.1, 0.6)
    clutter_value: Range = (0.2, 0.9)
    clutter_opacity: float = 0.75
    shadow_shift: float = 0.065  # to the right and down, of the image
    shadow_depth: float = 0.40
    shadow_softness: float = 1.4
    light: float = 0.24
    light_angle: Range = (0.3, 1.27)  # where it gets darker, radians from the x axis downwards
    bevel: float = 0.16
    surface_texture: float = 0.05
    occluder_position: Range = (0.15, 0.60)
    exposure: Range = (0.90, 1.15)
    brightness: Range = (-0.06, 0.06)


@dataclass(frozen=True)
class SketchStyle:
    """Ink outline with a wobble on paper, sometimes hatched."""

    wobble: float = 0.60
    line_width: Range = (0.45, 0.95)
    ink: Range = (0.50, 1.0)
    pressure: float = 0.35  # how much the ink fades along a line
    hatched: float = 0.5
    ruled: float = 0.35  # share drawn on ruled paper
    rule_depth: float = 0.26
    rule_period: Range = (4.0, 6.5)
    hatching_depth: float = 0.5
    hatching_period: Range = (3.2, 4.6)
    paper: Range = (0.80, 1.0)
    paper_texture: float = 0.03
    smudge: float = 0.08  # large grey blotches on the paper


@dataclass(frozen=True)
class CartoonStyle:
    """Flat colours with a thick dark outline."""

    value: Range = (0.85, 1.0)
    background_saturation: Range = (0.1, 0.45)
    outline: Range = (0.8, 1.3)


@dataclass(frozen=True)
class NeonStyle:
    """Glowing outline on black."""

    saturation: Range = (0.5, 1.0)
    tube: Range = (0.9, 1.2)
    halo: float = 0.4
    halo_width: float = 3.4
    core: float = 0.35  # how white the middle of the tube is
    ambient: Range = (0.0, 0.08)
    noise: float = 0.02


COLORS = (
    Color("red", 0.0, 0.85, 0.85),
    Color("orange", 0.08, 0.90, 0.95),
    Color("yellow", 0.15, 0.85, 0.95),
    Color("green", 0.33, 0.75, 0.70),
    Color("cyan", 0.50, 0.75, 0.85),
    Color("blue", 0.62, 0.80, 0.85),
    Color("purple", 0.77, 0.65, 0.75),
    Color("pink", 0.90, 0.60, 0.98),
)

BACKGROUNDS = (
    Background("plain", (0.35, 0.80), 0.0, 0.5),
    Background("busy", (0.25, 0.90), 1.6, 1.4),
    Background("dark", (0.08, 0.34), 1.0, 1.0),
    Background("bright", (0.65, 0.95), 1.0, 1.0),
)

CLASSES = (
    ImageClass("star", "asterisk", "yellow"),
    ImageClass("heart", "valentine", "red"),
    ImageClass("arrow", "pointer", "blue"),
    ImageClass("moon", "crescent", "yellow"),
    ImageClass("house", "cottage", "orange"),
    ImageClass("tree", "pine", "green"),
    ImageClass("fish", "trout", "cyan"),
    ImageClass("key", "latchkey", "orange"),
    ImageClass("cup", "mug", "blue"),
    ImageClass("bolt", "lightning", "yellow"),
    ImageClass("gear", "cogwheel", "purple"),
    ImageClass("ring", "hoop", "orange"),
    ImageClass("cross", "plus", "red"),
    ImageClass("umbrella", "parasol", "purple"),
    ImageClass("mushroom", "toadstool", "red"),
    ImageClass("bottle", "flask", "green"),
    ImageClass("hourglass", "timer", "cyan"),
    ImageClass("anchor", "mooring", "blue"),
    ImageClass("flower", "daisy", "pink"),
    ImageClass("drop", "droplet", "cyan"),
)
DISTRACTORS = (
    "flag",
    "crown",
    "boat",
    "rocket",
    "bell",
    "cloud",
)  # silhouettes of no class: photo clutter only

VIEWS = (
    View("canonical", 0.15, (0.70, 0.90), 0.08, 0.08, 0.0, 0.5, 0.015, 1.0),
    View("v2", 0.30, (0.52, 0.80), 0.16, 0.18, 0.10, 1.8, 0.05, 0.85),
    View("odd", 0.80, (0.52, 0.80), 0.22, 0.30, 0.20, 2.4, 0.03, 1.0),
)


@dataclass(frozen=True)
class World:
    """All constants together; `dataclasses.asdict` of it is what gets hashed."""

    renderer_version: int = RENDERER_VERSION
    block_size: int = BLOCK_SIZE
    style_names: tuple[str, ...] = STYLE_NAMES
    classes: tuple[ImageClass, ...] = CLASSES
    distractors: tuple[str, ...] = DISTRACTORS
    colors: tuple[Color, ...] = COLORS
    backgrounds: tuple[Background, ...] = BACKGROUNDS
    views: tuple[View, ...] = VIEWS
    pose: Pose = field(default_factory=Pose)
    jitter: Jitter = field(default_factory=Jitter)
    photo: PhotoStyle = field(default_factory=PhotoStyle)
    sketch: SketchStyle = field(default_factory=SketchStyle)
    cartoon: CartoonStyle = field(default_factory=CartoonStyle)
    neon: NeonStyle = field(default_factory=NeonStyle)
    sources: tuple[SourceSpec, ...] = SOURCES
    test_sets: tuple[TestSetSpec, ...] = TEST_SETS
    templates: tuple[str, ...] = TEMPLATES


WORLD = World()
