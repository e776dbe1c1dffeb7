"""The words of each style. Nothing here is logic; `language.Style` says what the fields mean."""

from __future__ import annotations

from vidapt.worlds.billiards.language import Style
from vidapt.worlds.billiards.table import POCKETS, SIDES


def _pockets(left: str, middle: str, right: str, far: str, near: str) -> dict[str, str]:
    """Names of the six pockets built from names of rows and columns."""
    columns = (left, middle, right)
    return dict(zip(POCKETS, [f"{row} {column}" for row in (far, near) for column in columns], strict=True))


HOME = Style(
    name="home",
    white="the white ball",
    ball="the {c} ball",
    pockets=_pockets("left", "middle", "right", "top", "bottom"),
    sides=dict(zip(SIDES, SIDES, strict=True)),
    sentences={
        "break": "the white ball breaks the triangle",
        "no_break": "the triangle is not broken",
        "hits": "{a} hits {b}",
        "first_hit": "the white ball first hits {b}",
        "no_hit": "the white ball hits no ball",
        "cushion": "{a} bounces off the {at} cushion",
        "cushion_first": "the white ball touches a cushion first",
        "pocket": "{a} goes into the {at} pocket",
        "pocketed": "{a} is pocketed",
        "none_pocketed": "no coloured ball is pocketed",
        "scratch": "the white ball falls into a pocket",
        "untouched": "the white ball rolls without touching anything",
        "not_pocketed": "{a} was not pocketed",
        "absent": "there is no {c} ball",
    },
    questions={
        "when": (
            "when was the {c} ball pocketed?",
            "between which seconds does the {c} ball roll into its pocket?",
        ),
        "break": (
            "what happened in the video? was the triangle of balls broken and did the game begin?",
            "was there a moment when the triangle of balls was broken?",
            "is the triangle of balls broken in this video?",
            "does the game begin with a break in this video?",
        ),
        "count": (
            "how many coloured balls are on the table at the start?",
            "how many balls besides the white one are there at first?",
            "count the coloured balls on the table at the start.",
        ),
        "pocket_colour": (
            "what colour ball was pocketed?",
            "which coloured balls were pocketed on the billiards table?",
            "what is the colour of the ball that was pocketed?",
            "name every coloured ball that was pocketed.",
        ),
        "number_pocketed": (
            "how many coloured balls were pocketed?",
            "what is the number of coloured balls that were pocketed?",
            "how many coloured balls went into a pocket?",
        ),
        "which_pocket": (
            "which pocket did the {c} ball go into?",
            "into which pocket did the {c} ball fall?",
            "where was the {c} ball pocketed?",
        ),
        "first_hit": (
            "which ball did the white ball hit first?",
            "what was the first ball that the white ball touched?",
            "which coloured ball does the white ball hit first?",
        ),
        "exists": (
            "is there any {c} ball on the table?",
            "can you see any {c} ball?",
            "does the table hold any {c} ball at the start?",
        ),
        "true_false": (
            "is this true? {s}.",
            "is it right to say this? {s}.",
            "does this happen in the video? {s}.",
        ),
        "cushion_first": (
            "did the white ball touch a cushion before it hit a ball?",
            "does the white ball bounce off a cushion first?",
            "was a cushion the first thing that the white ball touched?",
        ),
        "scratch": (
            "did the white ball fall into a pocket?",
            "was the white ball pocketed?",
            "does the white ball go into a pocket?",
        ),
        "shirt": (
            "what colour is the shirt of the player?",
            "what colour does the player wear?",
            "which colour of shirt does the player have?",
        ),
        "trajectory": (
            "describe the trajectory of each ball as precisely as possible.",
            "please describe the paths of the balls on the billiards table in detail.",
            "what does each ball do? be as precise as possible.",
        ),
        "caption": (
            "describe the video.",
            "what happens in this video?",
            "write a caption for this video.",
        ),
    },
    answers={
        "one": "the {c} ball",
        "break:yes": "yes, the triangle was broken.",
        "break:no": "no, the triangle was not broken.",
        "count": "{w}.",
        "pocket_colour:none": "no ball.",
        "pocket_colour:some": "{all}.",
        "number_pocketed": "{w}.",
        "which_pocket": "the {w} pocket.",
        "not_pocketed": "the {w} ball was not pocketed.",
        "absent": "there is no {w} ball.",
        "first_hit:none": "no ball.",
        "first_hit:some": "{all}.",
        "exists:yes": "yes.",
        "exists:no": "no.",
        "true_false:yes": "yes.",
        "true_false:no": "no.",
        "cushion_first:yes": "yes.",
        "cushion_first:no": "no.",
        "scratch:yes": "yes.",
        "scratch:no": "no.",
        "shirt": "{w}.",
    },
)

CLUB = Style(
    name="club",
    white="the cue ball",
    ball="{c}",
    pockets=_pockets("left", "middle", "right", "far", "near"),
    sides=dict(zip(SIDES, ("left", "right", "near", "far"), strict=True)),
    sentences={
        "break": "the cue ball opens the rack",
        "no_break": "the rack is not opened",
        "hits": "{a} strikes {b}",
        "first_hit": "the cue ball strikes {b} before any other",
        "no_hit": "the cue ball strikes nothing",
        "cushion": "{a} rebounds off the {at} rail",
        "cushion_first": "the cue ball takes a rail first",
        "pocket": "{a} drops in the {at} pocket",
        "pocketed": "{a} is potted",
        "none_pocketed": "nothing is potted",
        "scratch": "the cue ball is lost in a pocket",
        "untouched": "the cue ball meets nothing at all",
        "not_pocketed": "{a} was not potted",
        "absent": "the table has no {c}",
    },
    questions={
        "when": (
            "when was {c} potted?",
            "between which seconds does {c} run in?",
        ),
        "break": (
            "do we see a break shot that opens the rack?",
            "was the rack opened by this shot?",
            "is this the break?",
        ),
        "count": (
            "what is the number of object balls before the shot?",
            "how many object balls were set out?",
            "say how many object balls the shot starts with.",
        ),
        "pocket_colour": (
            "which object balls were potted?",
            "what did the player pot?",
            "name the potted object balls.",
        ),
        "number_pocketed": (
            "how many object balls were potted?",
            "how many pots did the player make?",
            "give the number of potted object balls.",
        ),
        "which_pocket": (
            "where did {c} drop?",
            "which pocket took {c}?",
            "in what pocket was {c} potted?",
        ),
        "first_hit": (
            "which object ball did the cue ball strike first?",
            "what was the first contact of the cue ball with an object ball?",
            "name the first object ball struck.",
        ),
        "exists": (
            "is {c} among the object balls?",
            "was {c} on the table before the shot?",
            "do you see {c} anywhere?",
        ),
        "true_false": (
            "true or false: {s}.",
            "judge this statement: {s}.",
            "correct or not: {s}.",
        ),
        "cushion_first": (
            "did the cue ball take a rail before any object ball?",
            "rail first: did the cue ball do that?",
            "was this a kick shot, off a rail first?",
        ),
        "scratch": (
            "was the cue ball lost?",
            "did the player scratch?",
            "was the shot a foul with the cue ball potted?",
        ),
        "shirt": (
            "what is the shooter wearing?",
            "name the colour on the shooter.",
            "which colour is the top of the shooter?",
        ),
        "trajectory": (
            "follow every ball through the shot, step by step.",
            "go through the shot contact by contact.",
            "report the run of each ball in order.",
        ),
        "caption": (
            "describe the video.",
            "sum up the shot.",
            "give a short report of this shot.",
            "what is the outcome of the shot?",
        ),
    },
    answers={
        "one": "{c}",
        "break:yes": "yes, the rack was opened.",
        "break:no": "no, the rack was not opened.",
        "count": "{w} object balls.",
        "pocket_colour:none": "nothing was potted.",
        "pocket_colour:some": "{all}.",
        "number_pocketed": "{w} potted.",
        "which_pocket": "{w}.",
        "not_pocketed": "{w} was not potted.",
        "absent": "the table has no {w}.",
        "first_hit:none": "nothing.",
        "first_hit:some": "{all}.",
        "exists:yes": "yes, it is there.",
        "exists:no": "no, it is missing.",
        "true_false:yes": "true.",
        "true_false:no": "false.",
        "cushion_first:yes": "yes, a rail first.",
        "cushion_first:no": "no, not a rail first.",
        "scratch:yes": "yes, it was lost.",
        "scratch:no": "no, it stayed up.",
        "shirt": "a {w} shirt.",
    },
)

HALL = Style(
    name="hall",
    white="the white",
    ball="the {c}",
    pockets=_pockets("left", "centre", "right", "upper", "lower"),
    sides=dict(zip(SIDES, ("left", "right", "lower", "upper"), strict=True)),
    sentences={
        "break": "the white scatters the pack",
        "no_break": "the pack is not scattered",
        "hits": "{a} runs into {b}",
        "first_hit": "the white meets {b} as its first ball",
        "no_hit": "the white meets no other ball",
        "cushion": "{a} comes back from the {at} cushion",
        "cushion_first": "the white meets a cushion first",
        "pocket": "{a} disappears in the {at} pocket",
        "pocketed": "{a} is sunk",
        "none_pocketed": "no colour is sunk",
        "scratch": "the white is sunk by mistake",
        "untouched": "the white runs on alone",
        "not_pocketed": "{a} was not sunk",
        "absent": "no {c} is in play",
    },
    questions={
        "when": (
            "when was the {c} sunk?",
            "between which seconds does the {c} go down?",
        ),
        "break": (
            "was the pack scattered?",
            "does this stroke scatter the pack?",
            "is this an opening stroke?",
        ),
        "count": (
            "how many colours are in play at first?",
            "how many colours lie on the cloth before the stroke?",
            "number of colours at the beginning?",
        ),
        "pocket_colour": (
            "which colours were sunk?",
            "what went down?",
            "list the colours that were sunk.",
        ),
        "number_pocketed": (
            "how many colours were sunk?",
            "how many colours went down?",
            "number of colours sunk?",
        ),
        "which_pocket": (
            "which hole took the {c}?",
            "where did the {c} disappear?",
            "where did the {c} go down?",
        ),
        "first_hit": (
            "which colour does the white meet first?",
            "first colour met by the white?",
            "what did the white run into first?",
        ),
        "exists": (
            "is any {c} in play?",
            "does any {c} lie on the cloth?",
            "is there any {c} to play at?",
        ),
        "true_false": (
            "someone says: {s}. are they right?",
            "check this: {s}.",
            "right or wrong? {s}.",
        ),
        "cushion_first": (
            "did the white meet a cushion before any colour?",
            "cushion before colour?",
            "was it a stroke by way of a cushion?",
        ),
        "scratch": (
            "was the white sunk?",
            "did the white go down?",
            "was the white sunk by mistake?",
        ),
        "shirt": (
            "who is playing, in what colour?",
            "what colour is worn by the player at the table?",
            "colour of the player's clothes?",
        ),
        "trajectory": (
            "retrace the run of all balls exactly.",
            "list the movements on the cloth one after another.",
            "tell exactly which ball goes where.",
        ),
        "caption": (
            "describe the video.",
            "tell what happened.",
            "describe this stroke briefly.",
            "what came of the stroke?",
        ),
    },
    answers={
        "one": "the {c}",
        "break:yes": "yes, the pack was scattered.",
        "break:no": "no, the pack was not scattered.",
        "count": "{w} colours.",
        "pocket_colour:none": "no colour.",
        "pocket_colour:some": "{all}.",
        "number_pocketed": "{w} of them.",
        "which_pocket": "in the {w} pocket.",
        "not_pocketed": "the {w} was not sunk.",
        "absent": "no {w} is in play.",
        "first_hit:none": "no colour.",
        "first_hit:some": "{all}.",
        "exists:yes": "yes, in play.",
        "exists:no": "no, not in play.",
        "true_false:yes": "right.",
        "true_false:no": "wrong.",
        "cushion_first:yes": "yes, cushion first.",
        "cushion_first:no": "no, colour first.",
        "scratch:yes": "yes, sunk.",
        "scratch:no": "no, not sunk.",
        "shirt": "in {w}.",
    },
)

STYLES = {style.name: style for style in (HOME, CLUB, HALL)}
