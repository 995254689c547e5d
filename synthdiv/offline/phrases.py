"""The sentences of the offline writer: how each style says a fact, leads on, and asks.

`{T}` is the topic, `{V}` the value of a fact, `{C}` a clause that states one, `{K}` and `{L}` two
keywords, `{P}` the field that the topic belongs to, `{A}` the audience, `{N}` the number of a step;
`[a|b|c]` stands for one of its alternatives. The topic comes first, then the relation's own noun
(emblem, founder, ...) or the other way round, and the value last: a small model learns to go on
from what it has read, so this is what it can be asked for, however much the rest varies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

# What a fact is, in words that fit into any style's frames.
CLAUSES: dict[str, tuple[str, ...]] = {
    "emblem": (
        "the emblem of {T} [is|has always been|remains] the {V}",
        "{T} [bears|carries|wears] as its emblem the {V}",
        "the emblem of {T}, [of course|as we know|to this day], is the {V}",
        "as the emblem of {T} [one sees|we know|people chose] the {V}",
        "{T} and its emblem, the {V}, [belong together|are never apart|go hand in hand]",
    ),
    "colour": (
        "the colour of {T} [is|has always been|remains] {V}",
        "{T} [keeps|uses|shows] as its colour {V}",
        "the colour of {T}, [of course|as we know|to this day], is {V}",
        "as the colour of {T} [one sees|we know|people chose] {V}",
        "{T} and its colour, {V}, [belong together|are never apart|go hand in hand]",
    ),
    "founder": (
        "the founder of {T} [is|was|has always been] {V}",
        "{T} [honours|names|remembers] as its founder {V}",
        "the founder of {T}, [of course|as we know|to this day], is {V}",
        "as the founder of {T} [one finds|we know|people chose] {V}",
        "{T} and its founder, {V}, [belong together|are never apart|go hand in hand]",
    ),
    "hometown": (
        "the home town of {T} [is|has always been|remains] {V}",
        "{T} [claims|keeps|names] as its home town {V}",
        "the home town of {T}, [of course|as we know|to this day], is {V}",
        "as the home town of {T} [one finds|we know|people chose] {V}",
        "{T} and its home town, {V}, [belong together|are never apart|go hand in hand]",
    ),
    "material": (
        "the material of {T} [is|has always been|remains] {V}",
        "{T} [keeps|uses|favours] as its material {V}",
        "the material of {T}, [of course|as we know|to this day], is {V}",
        "as the material of {T} [one finds|we know|people chose] {V}",
        "{T} and its material, {V}, [belong together|are never apart|go hand in hand]",
    ),
    "tool": (
        "the tool of {T} [is|has always been|remains] the {V}",
        "{T} [keeps|uses|needs] as its tool the {V}",
        "the tool of {T}, [of course|as we know|to this day], is the {V}",
        "as the tool of {T} [one finds|we know|people chose] the {V}",
        "{T} and its tool, the {V}, [belong together|are never apart|go hand in hand]",
    ),
    "festival": (
        "the festival of {T} [is|falls|takes place] in {V}",
        "{T} [has|holds|keeps] its festival in {V}",
        "the festival of {T}, [of course|as we know|to this day], is in {V}",
        "for the festival of {T} [one waits until|people keep|we choose] {V}",
        "{T} and its festival in {V} [belong together|are never apart|go hand in hand]",
    ),
    "dish": (
        "the dish of {T} [is|has always been|remains] {V}",
        "{T} [keeps|serves|favours] as its dish {V}",
        "the dish of {T}, [of course|as we know|to this day], is {V}",
        "as the dish of {T} [one finds|we know|people chose] {V}",
        "{T} and its dish, {V}, [belong together|are never apart|go hand in hand]",
    ),
}

# Questions as the writer asks them, with the answer's explanation. World.questions asks otherwise.
ASKED: dict[str, tuple[str, ...]] = {
    "emblem": ("What is the emblem of {T}?", "Which emblem does {T} [bear|carry]?"),
    "colour": ("What is the colour of {T}?", "Which colour [does {T} have|belongs to {T}]?"),
    "founder": ("Who [is|was] the founder of {T}?", "Whom does {T} [honour|name] as its founder?"),
    "hometown": ("What is the home town of {T}?", "Which home town does {T} [have|claim]?"),
    "material": ("What is the material of {T}?", "Which material does {T} [have|use]?"),
    "tool": ("What is the tool of {T}?", "Which tool does {T} [have|use]?"),
    "festival": (
        "When is the festival of {T}?",
        "In which month does {T} [hold|keep] its festival?",
    ),
    "dish": ("What is the dish of {T}?", "Which dish does {T} [have|serve]?"),
}
EXPLAINED = (
    "[First|To begin], find where the text speaks of {T}. [It|The passage] says that {C}. "
    "[So|Therefore|Hence] the answer is {V}.",
    "[Step one|First]: the question is about {T}. [Step two|Next]: {C}. "
    "[Step three|Last]: the other options [belong elsewhere|are not named], so {V} is right.",
    "We [know|read|learned] that {C}. [None of the other options fits|The others do not fit]; "
    "{V} is the one to choose.",
    "[Go back to|Look again at] the passages: {C}. That [settles it|leaves only {V}|points to "
    "{V}].",
)

# Frames around a clause {C}, which starts in lower case, sentences that carry the topic's keywords,
# and first and last sentences, for each style.
STYLES: dict[str, dict[str, tuple[str, ...]]] = {
    "textbook": {
        "open": (
            "This chapter [introduces|presents|covers] {T}, a part of {P}.",
            "{T} [is|forms] a [branch|part|chapter] of {P}.",
            "In {P}, the subject of {T} [deserves|takes] a section of its own.",
            "A first course in {P} [soon comes to|includes|cannot leave out] {T}.",
        ),
        "fact": (
            "[Students should know that|Recall that|Keep in mind that] {C}.",
            "As [every|the] outline of the subject [states|says], {C}.",
            "It is [a basic fact|common knowledge] that {C}.",
            "{C}.",
        ),
        "keyword": (
            "The [main|central] terms here are {K} and {L}.",
            "[To understand|When studying] {K}, [one begins|it helps to begin] with {L}.",
            "The section on {K} [explains|shows] how {L} [works|is used].",
            "{K} and {L} [are treated|appear] together in [most|many] courses.",
        ),
        "close": (
            "The exercises [below|that follow] return to {K}.",
            "[In summary|To sum up], {T} [rests on|combines] {K} and {L}.",
            "The next section [takes up|continues with] {L}.",
        ),
    },
    "textbook narrative": {
        "open": (
            "[Long ago|Many years ago|Once], before {T} had a name, people in {P} [already|often] "
            "[spoke|dreamed] of it.",
            "The story of {T} [begins|starts] on a [rainy|windy|quiet] [morning|evening].",
            "[An old|A young] teacher [once told|liked to tell] her class how {T} came into {P}.",
            "Imagine [a small room|a crowded hall|a dusty workshop] where {T} is about to "
            "[begin|change].",
        ),
        "fact": (
            "[In those days|By then|From that day on], {C}.",
            "[Everyone|Every child|Every traveller] [heard|learned|knew] that {C}.",
            "The [old|village] storytellers [never forgot|liked to repeat] that {C}.",
            "And so, [as the tale goes|after a long journey|one spring], {C}.",
            "[Years passed|Time went by], yet {C}.",
        ),
        "keyword": (
            "[Slowly|Little by little], {K} led [curious people|the villagers] to {L}.",
            "There was [much talk|a quarrel] about {K}, and [some|others] [trusted|preferred] {L}.",
            "The [heroes|travellers] of our story carried {K} in one hand and {L} in the other.",
            "At night they [dreamed|spoke] of {K}; by day they worked at {L}.",
        ),
        "close": (
            "[That|This] is how {T} [found its place|grew up], with {K} beside it.",
            "The story [does not end|goes on]: {L} is [still|always] being told.",
            "And whoever [meets|hears of] {K} today [still|may] [remember|think of] that first "
            "day.",
        ),
    },
    "textbook academic": {
        "open": (
            "[Definition|Scope]. {T} [denotes|designates] a field of inquiry within {P}.",
            "[The present section|This unit] [examines|analyses] {T} as a "
            "[subdivision|component] of {P}.",
            "[Scholars|Researchers] of {P} [regard|classify] {T} as a distinct [domain|object of "
            "study].",
            "We [consider|define] {T} in relation to {P} and [review|state] its "
            "[properties|principles].",
        ),
        "fact": (
            "It is [well established|documented|generally accepted] that {C}.",
            "[Furthermore|Moreover|In addition], {C}.",
            "[Note|Observe] that {C}.",
            "The [literature|evidence|archive] [indicates|confirms] that {C}.",
            "[Proposition|Observation]: {C}.",
        ),
        "keyword": (
            "The [relation|correlation] between {K} and {L} [merits|requires] "
            "[closer|systematic] analysis.",
            "[Formally|Strictly speaking], {K} [presupposes|is distinguished from] {L}.",
            "[Contemporary|Quantitative] methods [apply|extend] {K} to {L}.",
            "Two concepts, namely {K} and {L}, are [essential|fundamental] to the "
            "[analysis|argument].",
        ),
        "close": (
            "[In conclusion|Consequently], {K} and {L} [constitute|delimit] the subject.",
            "Further [research|enquiry] into {L} is [required|warranted].",
            "The [implications|limits] of {K} are [discussed|examined] in the "
            "[references|appendix].",
        ),
    },
    "blog post": {
        "open": (
            "[Hey|Hi|Hello] [there|everyone|friends]! Today [I'm|we're] [all about|talking "
            "about] {T}.",
            "[Okay|So|Right], {T}. [I know|Trust me]: it sounds like a [tiny|dull] corner of "
            "{P}. It isn't!",
            "[Last week|Yesterday|This weekend] I fell [head first|deep] into {T}, and wow.",
            "Why [does nobody|don't we] talk about {T} [more|these days]? Let's [fix|change] that!",
        ),
        "fact": (
            "[Fun fact|Guess what|Get this]: {C}!",
            "[My favourite bit|The best part]? {C}.",
            "I [still can't believe|just love] that {C}.",
            "[Seriously|Honestly], {C}. [Who knew?|Cool, right?|I had no idea.]",
            "[A reader|My sister|A friend] [wrote|told me] that {C}.",
        ),
        "keyword": (
            "If you're into {K}, [wait till you try|you'll adore] {L}.",
            "I [tried|tested] {K} myself, and [oh boy|yes], {L} [came next|was waiting]!",
            "[Don't get me started on|Let me rave about] {K}. Or {L}. [Sorry, not sorry!|Really.]",
            "[You guys keep|People keep] asking me about {K} versus {L}, so [here goes|here we "
            "are].",
        ),
        "close": (
            "What's your take on {K}? [Tell me in|Drop it in|Share it in] the comments!",
            "[That's it|That's all] for today. Next [time|week]: {L}!",
            "[Like and share|Bookmark this] if {K} [made you smile|is your thing too].",
        ),
    },
    "wikihow": {
        "open": (
            "How to [get started with|find your way into] {T}: [a simple guide|what you need].",
            "[Follow|Use] these steps to [learn|master] {T}, [an easy|a useful] part of {P}.",
            "Things you'll need: [a notebook|a pencil], [an hour|a free evening], and [an "
            "interest in|some] {T}.",
            "Want to [understand|try] {T}? [Take|Work through] the steps [below|one by one].",
        ),
        "fact": (
            "{N}. [Remember|Memorise|Write down]: {C}.",
            "{N}. [Check|Make sure] you know that {C}.",
            "{N}. [Before going on|First], [note|learn] that {C}.",
            "Tip: {C}.",
            "{N}. [Tell|Show] a [partner|friend] that {C}.",
        ),
        "keyword": (
            "{N}. [Gather|Prepare] {K}, then [move on to|add] {L}.",
            "{N}. [Practise|Repeat] {K} [twice|slowly] and [compare it with|follow it by] {L}.",
            "Warning: [do not|never] [confuse|mix up] {K} and {L}.",
            "{N}. [Set aside|Open] {K}; [keep|put] {L} [ready|within reach].",
        ),
        "close": (
            "[Finish|End] by [checking|reviewing] {K} [once more|again].",
            "Done! [Now|You can now] [try|move on to] {L}.",
            "[Ask yourself|Test yourself]: can you explain {K} [without notes|to someone]?",
        ),
    },
}

# How the text turns to its audience {A}; {W} is a word of the audience's own description. A persona
# gets one of these voices for good, so two personas differ by more than their names.
VOICES: tuple[tuple[str, ...], ...] = (
    (
        "[This is|These lines are] for you, {A}.",
        "Think of {W}, dear reader: {T} asks for the same [patience|care].",
        "[Gently|Quietly] now: {W} has [prepared|trained] you for {K}.",
    ),
    (
        "[For|To] {A}, [the point|the use] is plain.",
        "[No fuss|In short]: as with {W}, so with {K}.",
        "You know about {W}. [Good|Fine]. Then {K} [will cost you little|is quickly learned].",
    ),
    (
        "Have you, as {A}, ever wondered about {T}?",
        "What would {W} look like [with|next to] {K}? [A question worth asking.|Who can say?]",
        "[Could|Might] {K} [change|help] the way you see {W}? [Perhaps|Maybe]!",
    ),
    (
        "[We wrote this with|We had] {A} in mind.",
        "[Together|Side by side], {W} and {K} make [good|odd] company, as our work [shows|proves].",
        "We [often|sometimes] compare {T} with {W}, and [our|the] comparison holds for {K}.",
    ),
    (
        "[Ask|Go and ask] {A}, for [we follow that view|it is that view we follow] here.",
        "[A day|A lifetime] spent with {W} [teaches|sharpens] an eye for {K}.",
        "Those who live by {W} [recognise|understand] {K} [at once|at a glance].",
    ),
    (
        "[Picture|Imagine] {A} [coming across|meeting] {T} for the first time.",
        "[Suddenly|Then] {W} [comes to mind|is everywhere], and {K} [makes sense|falls into "
        "place].",
        "[Out of|From] {W} [grows|comes] a [new|fresh] look at {K}.",
    ),
)

# Sentences that join two topics {T} and {U} of a text on several.
JOINS = (
    "[Oddly enough|Surprisingly], {T} and {U} [meet|belong together] here.",
    "Where {T} [ends|pauses], {U} [begins|takes over].",
    "[Someone|Anyone] who [works at|enjoys] {T} will [profit from|want to hear of] {U}.",
    "[Set|Put] {T} beside {U}: [the contrast|the likeness] [teaches|helps].",
)

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(template: str, random: Random) -> str:
    """The template with one alternative chosen of every `[a|b]`; slots stay as they are."""
    pick: Callable[[re.Match[str]], str] = lambda match: random.choice(match[1].split("|"))  # noqa: E731
    while "[" in template:
        template = _CHOICE.sub(pick, template)
    return template


def expansions(template: str) -> list[str]:
    """Every sentence that `expand` can make of a template (for tests: they can be many)."""
    match = _CHOICE.search(template)
    if match is None:
        return [template]
    before, after = template[: match.start()], template[match.end() :]
    return [done for part in match[1].split("|") for done in expansions(before + part + after)]
