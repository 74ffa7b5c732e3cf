"""What a fixture is made of."""

from dataclasses import dataclass, field

import torch
from transformers import MixtralConfig, PreTrainedConfig

BASE = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=64,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    rms_norm_eps=1e-5,
    bos_token_id=0,
    eos_token_id=1,
)

MIXTRAL = BASE | dict(num_local_experts=8, num_experts_per_tok=2)


@dataclass
class Case:
    """One checkpoint. `config` holds what differs from the family's base."""

    name: str
    about: str
    config: dict = field(default_factory=dict)
    family: type[PreTrainedConfig] = MixtralConfig
    dtype: torch.dtype = torch.float32
    tokens: int = 40
    seed: int = 0
    max_shard_size: str = "1GB"
    old_config: bool = False
    fused: bool = False
    # Whether the text is too short for every expert to be used.
    some_experts: bool = False
    # A tensor that the file must have, where it is not that of Mixtral or Llama.
    tensor: str | None = None

    def keys(self) -> dict:
        """What its config is made of."""
        return (MIXTRAL if self.family is MixtralConfig else BASE) | self.config
