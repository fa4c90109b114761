import csv
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from ucc.history import COLUMNS, History


def scalars(**values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def test_a_row_holds_the_means_since_the_row_before() -> None:
    history = History()
    history.add(scalars(loss=1.0))
    history.add(scalars(loss=2.0))
    assert history.close_row(2, lr=0.5) == {"step": 2, "loss": 1.5, "lr": 0.5}
    history.add(scalars(loss=7.0))
    assert history.close_row(3, lr=0.4) == {"step": 3, "loss": 7.0, "lr": 0.4}


def test_a_figure_that_began_late_is_averaged_over_its_own_steps() -> None:
    history = History()
    history.add(scalars(loss=1.0))
    history.add(scalars(loss=3.0, loss_unsup=4.0))
    assert history.close_row(2) == {"step": 2, "loss": 2.0, "loss_unsup": 4.0}


def test_adding_a_step_leaves_the_scalars_of_the_step_alone() -> None:
    history, record = History(), scalars(loss=1.0)
    history.add(record)
    history.add(scalars(loss=2.0))
    assert record["loss"] == 1.0


def test_the_file_has_an_empty_cell_where_a_row_has_no_figure(tmp_path: Path) -> None:
    history = History()
    history.add(scalars(loss=1 / 3))
    history.close_row(1)
    history.add(scalars(loss=0.25))
    history.close_row(2, val_miou_head_1=41.5)
    history.write(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    filled = [{name: text for name, text in row.items() if text} for row in rows]
    assert filled == [{"step": "1", "loss": "0.333333"}, {"step": "2", "loss": "0.25", "val_miou_head_1": "41.5"}]


def test_the_file_has_every_column_that_the_plots_name_whatever_the_method(tmp_path: Path) -> None:
    history = History()
    history.add(scalars(loss=1.0))
    history.close_row(1, entropy=0.5)
    history.write(tmp_path / "history.csv")
    header = (tmp_path / "history.csv").read_text().splitlines()[0].split(",")
    assert header == [*COLUMNS, "entropy"]


def test_latest_gives_the_newest_figure_of_each_name() -> None:
    history = History()
    history.close_row(1, val_a=1.0, val_b=2.0)
    history.close_row(2, val_a=3.0, loss=9.0)
    assert history.latest("val_") == {"val_a": 3.0, "val_b": 2.0}


def test_an_interrupted_row_goes_on_where_it_was() -> None:
    through, before = History(), History()
    for history in (through, before):
        history.add(scalars(loss=0.1))
        history.close_row(1)
        history.add(scalars(loss=0.2, loss_unsup=0.7))
    stored = BytesIO()
    torch.save(before.state_dict(), stored)
    stored.seek(0)
    after = History()
    after.load_state_dict(torch.load(stored, weights_only=True))
    for history in (through, after):
        history.add(scalars(loss=0.3))
        history.close_row(3)
    assert after.rows == through.rows


def test_figures_of_classes_become_a_long_table(tmp_path: Path) -> None:
    history = History()
    for step in (1, 2):
        history.add(scalars(loss=1.0))
        history.close_row(step, confidence_sky=0.5, confidence_bike=0.25 * step, pasted_sky=step, pasted_bike=0)
    history.write_class_figures(tmp_path / "confidence.csv", ("sky", "bike"))
    assert (tmp_path / "confidence.csv").read_text().splitlines() == [
        "step,class,confidence,pasted",
        "1,sky,0.5,1",
        "1,bike,0.25,0",
        "2,sky,0.5,2",
        "2,bike,0.5,0",
    ]
