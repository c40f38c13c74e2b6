"""Quantised checkpoints: which of them can be loaded here."""

from collections.abc import Mapping

from ..errors import ModelError
from .catalogue import alternatives

# transformers runs these with kernels that the `kernels` package fetches from the hub and executes.
_FETCHED_KERNELS = ("eetq", "fp8", "metal", "mxfp4", "mxfp8", "nvfp4")


def quantisation_of(config: Mapping[str, object]) -> Mapping[str, object] | None:
    """Find the quantisation in the contents of a config.json; None for plain weights."""
    text = config.get("text_config")
    for place in (config, text if isinstance(text, Mapping) else {}):
        for name in ("quantization_config", "compression_config"):
            found = place.get(name)
            if isinstance(found, Mapping):
                return found
    return None


def method_of(quantisation: Mapping[str, object]) -> str:
    """Name the method of a quantisation as transformers does, such as "awq" or "bitsandbytes_4bit"."""
    if quantisation.get("load_in_4bit"):
        return "bitsandbytes_4bit"
    if quantisation.get("load_in_8bit"):
        return "bitsandbytes_8bit"
    return str(quantisation.get("quant_method", "unknown"))


def check_quantisation(name: str, config: Mapping[str, object]) -> bool:
    """Say whether a model is quantised; call this before its weights are fetched.

    Raises ModelError for a method that transformers does not know, that it runs with code fetched from the hub, or
    that wants packages which are not installed here.
    """
    quantisation = quantisation_of(config)
    if quantisation is None:
        return False
    method = method_of(quantisation)
    plain = alternatives(str(config.get("model_type")))
    same = (model for model in plain if model.rpartition("/")[2].lower() in name.lower())
    remedy = f"; take an unquantised model, such as {next(same, plain[-1])}" if plain else "; take the unquantised one"
    if method in _FETCHED_KERNELS:
        raise ModelError(
            f"{name} is quantised with {method}, which transformers runs with the package `kernels`, that is with code "
            f"fetched from the hub, and Onlooker runs none{remedy}"
        )
    reason = _obstacle(method, quantisation)
    if reason is not None:
        raise ModelError(f"{name} is quantised with {method}, which cannot be loaded here ({reason}){remedy}")
    return True


def _obstacle(method: str, quantisation: Mapping[str, object]) -> str | None:
    """Let transformers check what a method needs; give its reason against it, None when there is none."""
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING, AutoQuantizationConfig

    if method not in AUTO_QUANTIZER_MAPPING:
        # transformers would skip what it does not know, and read quantised numbers as plain ones.
        return "transformers does not know this method"
    try:
        settings = AutoQuantizationConfig.from_dict(dict(quantisation))
        AUTO_QUANTIZER_MAPPING[method](settings, pre_quantized=True).validate_environment(device_map=None)
    except Exception as error:  # noqa: BLE001 - each method has kinds of its own, and all of them mean: not here
        return " ".join(str(error).split()) or type(error).__name__
    return None
