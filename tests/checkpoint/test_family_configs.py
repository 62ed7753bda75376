"""The configs that the docs and the released models name have the settings of their weights."""

import pytest
from omegaconf import OmegaConf

from dab_detr.checkpoint import formats
from dab_detr.config import load as load_config
from dab_detr.zoo.table import MODELS
from tiny import CONFIGS

RELEASED = [(model.config, model.overrides, formats.DETREX_DINO) for model in MODELS if "dino" in model.name]
DOCUMENTED = {
    "dino_r50_4scale_12ep": formats.DINO,
    "dino_r50_5scale_12ep": formats.DINO,
    "dino_r50_4scale_12ep_better": formats.DETREX_DINO,
    "co_dino_r50_5scale_12ep": formats.CO_DINO,
    "co_deformable_detr_r50_12ep": formats.CO_DEFORMABLE,
}


@pytest.mark.parametrize(
    ("config", "overrides", "found"), [*RELEASED, *((config, (), found) for config, found in DOCUMENTED.items())]
)
def test_the_configs_of_the_docs_and_of_released_models_fit(config, overrides, found):
    model = load_config(str(CONFIGS / f"{config}.py"), overrides).model
    for key, value in {**found.needs, **found.selection}.items():
        assert OmegaConf.select(model, key.removeprefix("model.")) == value, key
