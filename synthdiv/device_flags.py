"""The flags that say what hardware --dry_run plans for."""

from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:
    from synthdiv.training import Target


def define(values: flags.FlagValues) -> None:
    """Adds them."""
    flags.DEFINE_string(
        "device",
        "",
        "What --dry_run plans for instead of the devices at hand: h100, h200, a100, b200, v5e, "
        "v5p, v6e or another of configs/devices.json.",
        flag_values=values,
    )
    flags.DEFINE_integer("devices", 0, "How many of them.", 0, flag_values=values)
    flags.DEFINE_float(
        "mfu", 0.4, "Share of their peak that training is taken to reach.", flag_values=values
    )
    flags.DEFINE_string(
        "device_table",
        None,
        "File of devices and prices, of the form of configs/devices.json, that adds to it.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "compile",
        False,
        "Ask the compiler for the memory, in minutes, instead of estimating it.",
        flag_values=values,
    )


def target(values: flags.FlagValues) -> "Target":
    """Returns what they say."""
    from synthdiv.training import Target

    if values.compile and values.device:
        import jax

        # A compiler for devices that are not here starts beside the CPU, and not in their place.
        config: Any = jax.config
        config.update("jax_platforms", "cpu")
    return Target(
        values.device, values.devices, values.mfu, values.device_table, compile=values.compile
    )
