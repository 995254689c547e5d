"""What a trained model is judged by, as tables and figures show it: name, unit, digits."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A measure of a trained model.

    Attributes:
        title: its name in words.
        unit: "%", or "" for a plain number.
        digits: shown after the point.
        higher_is_better: the direction.
    """

    title: str
    unit: str
    digits: int
    higher_is_better: bool

    @property
    def label(self) -> str:
        """Its name and unit, as a column or an axis is headed."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def times(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def of_differences(self) -> str:
        """The unit of a difference between two values."""
        return "percentage points" if self.unit == "%" else self.unit

    def text(self, value: float | None, sign: str = "") -> str:
        """Returns a value without its unit; `sign` is "+" for a difference."""
        return "-" if value is None else f"{self.times * value:{sign}.{self.digits}f}"


OUTCOMES = {
    "accuracy": Outcome("accuracy", "%", 2, True),
    "probability": Outcome("probability of the right answer", "%", 2, True),
    "probability_norm": Outcome(
        "probability of the right answer, lengths normalised", "%", 2, True
    ),
    "answer_bits_per_byte": Outcome("bits per byte of the right answer", "", 4, False),
    "brier": Outcome("Brier score", "", 4, False),
    "bits_per_byte": Outcome("bits per byte of held-out text", "", 4, False),
}


def outcome_named(name: str) -> Outcome:
    """Returns an outcome by its name in results; `bits_per_byte/TEXT` is that of one text."""
    kind, _, text = name.partition("/")
    found = OUTCOMES[kind]
    return dataclasses.replace(found, title=f"bits per byte of {text}") if text else found
