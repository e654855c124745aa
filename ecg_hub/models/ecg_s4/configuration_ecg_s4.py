"""Configuration of S4."""

# No postponed annotations here: `strict` checks the types of fields only when it sees them as types.

from dataclasses import field

from huggingface_hub.dataclasses import strict

from ecg_hub.modeling.configuration_utils import ECGConfig


@strict
class ECGS4Config(ECGConfig):
    """Configuration of S4; the defaults are the network of the benchmark.

    Attributes:
        num_hidden_layers: S4 blocks.
        state_size: states per feature of S4.
        kernel_length: length in tokens that the stored C of S4 belongs to (2.5 s at 100 Hz).
        dropout: probability of dropping a feature of a sample for all tokens, in the S4 blocks.
        layer_norm_eps: epsilon of the layer norms.
    """

    model_type = "ecg_s4"

    hidden_size: int = 512
    sampling_rate: float | int = 100
    input_seconds: float | int = 2.5
    num_hidden_layers: int = 4
    state_size: int = 8
    kernel_length: int = 250
    dropout: float | int = 0.2
    layer_norm_eps: float = 1e-5
    # Not published: the benchmark trains S4 from scratch at one rate. As those of ECG-CPC, for training it further.
    layer_groups: dict[str, list[str]] = field(default_factory=lambda: {"late": ["blocks."], "early": ["encoder."]})
