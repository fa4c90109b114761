"""YAML of DVC is read as DVC reads it."""

from pathlib import Path

from omegaconf import OmegaConf

from ucc.experiments.dvc_text import parse_yaml

ROOT = Path(__file__).parents[2]


def test_a_text_of_dvc_is_parsed_once_and_as_omegaconf_does() -> None:
    numbers = "a: [1e-05, .5e-3, 1.5e+3, -1E5, 0.1, 3, '1e5', 1e, 1/16, 2024-01-01, x1e5]\nb: {c: null, d: true}\n"
    for text in (numbers, (ROOT / "dvc.lock").read_text(), (ROOT / "params.yaml").read_text()):
        assert parse_yaml(text) == OmegaConf.to_container(OmegaConf.create(text))
        assert parse_yaml(text) is parse_yaml(text)
    assert parse_yaml("") == parse_yaml("- 1") == {}
