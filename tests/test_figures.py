import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from brainscore_lite.figures import (
    CEILING_COLOUR,
    CEILING_EDGE,
    CONTROL_COLOUR,
    PANELS_PER_ROW,
    bar_styles,
    layer_heat_map,
    rdm_pair,
    save_figure,
    score_bars,
)
from brainscore_lite.schema import ContractError, rdms
from brainscore_lite.storage import StorageError
from brainscore_lite.tables import results_table

MODELS = ("pixels", "cnn", "cnn_untrained")
SCORES = {"pixels": 0.21, "cnn": 0.47, "cnn_untrained": 0.30}
V4 = {"benchmark": "simulated_v4_it.V4.ridge", "unit": "pearson_r", "ceiling": 0.4}
IT = {
    "benchmark": "simulated_92.IT.rsa",
    "unit": "spearman_r",
    "ceiling": 0.5,
    "ceiling_low": 0.3,
    "ceiling_high": 0.5,
}
MONKEY = {"benchmark": "simulated_92.monkeyIT.rsa", "unit": "spearman_r", "ceiling": None}


def rows(benchmark: dict, **more: object) -> list[dict]:
    return [
        {
            **benchmark,
            "model": model,
            "raw": SCORES[model],
            "low": SCORES[model] - 0.05,
            "high": SCORES[model] + 0.06,
            "normalized": SCORES[model] / (benchmark["ceiling"] or np.nan),
            "simulated": True,
            **more,
        }
        for model in MODELS
    ]


@pytest.fixture
def table() -> pd.DataFrame:
    return results_table([*rows(V4), *rows(IT, caveats="alignment inferred"), *rows(MONKEY)])


def title(figure: Figure) -> str:
    return figure.get_suptitle()


def bars(axis) -> list:
    return [container.patches[0] for container in axis.containers]


def lines_of(axis, colour: str) -> list[np.ndarray]:
    """Ends of the segments drawn in a colour, (n, 2, 2) for each collection."""
    return [
        np.array(lines.get_segments())
        for lines in axis.collections
        if np.allclose(lines.get_edgecolor()[0][:3], to_rgb(colour))
    ]


def test_one_panel_for_each_benchmark_and_one_bar_for_each_model(table: pd.DataFrame) -> None:
    figure = score_bars(table)
    assert [len(bars(axis)) for axis in figure.axes] == [3, 3, 3]
    drawn = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert drawn == ["pixels", "cnn_untrained", "cnn"]


def test_bars_are_as_long_as_the_scores_even_above_the_ceiling(table: pd.DataFrame) -> None:
    lengths = [bar.get_width() for bar in bars(score_bars(table).axes[0])]
    assert lengths == [0.21, 0.30, 0.47]
    normalized = [bar.get_width() for bar in bars(score_bars(table, value="normalized").axes[0])]
    assert normalized == pytest.approx([0.21 / 0.4, 0.30 / 0.4, 0.47 / 0.4])


def test_whiskers_are_the_intervals(table: pd.DataFrame) -> None:
    ends = [segments[0, :, 0] for segments in lines_of(score_bars(table).axes[0], "black")]
    assert np.allclose(ends, [[0.16, 0.27], [0.25, 0.36], [0.42, 0.53]])


def test_ceiling_is_a_line_at_its_value(table: pd.DataFrame) -> None:
    drawn = lines_of(score_bars(table).axes[0], CEILING_EDGE)
    assert np.allclose([line[0, :, 0] for line in drawn], 0.4)
    assert {float(end) for line in drawn for end in line[0, :, 1]} == {-0.5, 0.5, 1.5, 2.5}


def test_ceiling_with_bounds_is_a_band_between_them(table: pd.DataFrame) -> None:
    axis = score_bars(table).axes[1]
    bands = [p for p in axis.patches if np.allclose(p.get_facecolor()[:3], to_rgb(CEILING_COLOUR))]
    assert len(bands) == 3
    for band in bands:
        assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.3, 0.5))
    assert axis.get_xlim()[1] > 0.5


def test_panel_without_ceiling_says_so(table: pd.DataFrame) -> None:
    headings = [axis.get_title() for axis in score_bars(table).axes]
    assert ["no ceiling" in heading for heading in headings] == [False, False, True]


def test_normalized_panel_without_ceiling_draws_no_bar(table: pd.DataFrame) -> None:
    axis = score_bars(table, value="normalized").axes[2]
    assert not bars(axis)
    assert [text.get_text().strip() for text in axis.texts] == ["no score"] * 3


def test_model_that_was_not_scored_is_said_to_be_missing() -> None:
    some = [row for row in rows(IT) if row["model"] != "cnn"]
    axis = score_bars(results_table([*rows(V4), *some])).axes[1]
    assert [(text.get_text().strip(), text.get_position()[1]) for text in axis.texts] == [
        ("no score", 2)
    ]


def test_title_says_what_holds_of_all_and_of_some(table: pd.DataFrame) -> None:
    figure = score_bars(table, title="Demo")
    assert title(figure) == "Demo (simulated, alignment inferred where marked)"
    marked = ["alignment inferred" in axis.get_title() for axis in figure.axes]
    assert marked == [False, True, False]
    assert all("simulated" in axis.get_title().splitlines() for axis in figure.axes)


def test_recorded_scores_carry_no_mark() -> None:
    recorded = {**V4, "benchmark": "cowley2023_v4_210325.V4.ridge"}
    table = results_table(rows(recorded, simulated=False))
    assert title(score_bars(table, title="Demo")) == "Demo"
    assert title(score_bars(table)) == ""


def test_baseline_is_drawn_and_explained() -> None:
    figure = score_bars(results_table(rows(V4, baseline=0.33)))
    dotted = [line for line in figure.axes[0].lines if line.get_linestyle() == ":"]
    assert [line.get_xdata()[0] for line in dotted] == [0.33]
    explained = [text.get_text() for text in figure.legends[0].get_texts()]
    assert explained == [
        "control",
        "untrained",
        "trained",
        "95 % interval over stimuli",
        "ceiling",
        "baseline",
    ]


def test_many_benchmarks_go_on_in_further_rows() -> None:
    names = [f"d{i}.V4.ridge" for i in range(PANELS_PER_ROW + 1)]
    figure = score_bars(results_table(r for name in names for r in rows({**V4, "benchmark": name})))
    assert len(figure.axes) == PANELS_PER_ROW + 1
    tops = [axis.get_position().y1 for axis in figure.axes]
    assert tops[-1] < tops[0]


def test_copies_of_a_network_share_a_colour_and_differ_in_hatch() -> None:
    styles = bar_styles(["cnn", "pixels", "cnn_untrained", "other"])
    assert list(styles) == ["pixels", "cnn_untrained", "cnn", "other"]
    assert styles["cnn_untrained"].edge == styles["cnn"].colour
    assert (styles["cnn_untrained"].hatch, styles["cnn"].hatch) == ("////", "")
    assert sum(to_rgb(styles["cnn_untrained"].colour)) > sum(to_rgb(styles["cnn"].colour))
    assert styles["other"].colour != styles["cnn"].colour
    assert styles["pixels"].colour == CONTROL_COLOUR


def test_bars_refuse_several_scores_of_one_model() -> None:
    with pytest.raises(ContractError, match=r"score_bars: model 'pixels' has several scores"):
        score_bars(results_table([*rows(V4), *rows(V4)]))


@pytest.mark.parametrize("draw", [score_bars, layer_heat_map])
def test_empty_table_is_refused(draw, table: pd.DataFrame) -> None:
    with pytest.raises(ContractError, match=r"the table has no scores\. Score at least one model"):
        draw(table.iloc[:0])


def layered(scores: dict[tuple[str, str], float]) -> pd.DataFrame:
    return results_table(
        {**V4, "benchmark": name, "model": "cnn", "layer": layer, "raw": score, "simulated": True}
        for (layer, name), score in scores.items()
    )


def test_heat_map_holds_layers_by_benchmarks() -> None:
    scores = {
        ("conv1", "d.V4.ridge"): 0.2,
        ("conv2", "d.V4.ridge"): 0.4,
        ("conv1", "d.IT.rsa"): 0.3,
    }
    figure = layer_heat_map(layered(scores), title="Layers")
    axis = figure.axes[0]
    shown = np.ma.filled(axis.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, [[0.2, 0.3], [0.4, np.nan]])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["conv1", "conv2"]
    assert [text.get_text() for text in axis.texts] == ["0.20", "0.30", "0.40", "–"]
    frames = [(round(p.get_x() + 0.47), round(p.get_y() + 0.46)) for p in axis.patches]
    assert frames == [(0, 1), (1, 0)]
    assert title(figure) == "Layers (simulated)"


def test_column_labels_of_the_heat_map_do_not_overlap() -> None:
    names = [
        "cowley2023_v4_210325.V4.ridge",
        "cowley2023_v4_210325.V4.rsa",
        "kriegeskorte2008_92.monkeyIT.rsa",
        "ratan_murty2021_rois.FFA.ridge",
        "anameofonewordthatcannotbebroken.V4.ridge",
        "another_name_of_many_words.V4.linear_predictivity",
    ]
    figure = layer_heat_map(layered({("conv1", name): 0.2 for name in names}))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    labels = figure.axes[0].get_xticklabels()
    places = [label.get_window_extent(canvas.get_renderer()) for label in labels]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(places))
    assert labels[0].get_text() == "V4, ridge\ncowley2023_v4_\n210325\nsimulated"


def test_heat_map_says_what_its_frames_mean_and_nothing_of_ceilings() -> None:
    scores = layered({("conv1", "d.V4.ridge"): 0.2}).assign(ceiling=np.nan, ceiling_high=np.nan)
    figure = layer_heat_map(scores)
    assert "no ceiling" not in figure.axes[0].get_xticklabels()[0].get_text()
    assert figure.get_supxlabel().endswith("over all stimuli (description, not the score)")


def test_heat_map_refuses_a_layer_scored_twice() -> None:
    table = layered({("conv1", "d.V4.ridge"): 0.2})
    with pytest.raises(ContractError, match=r"layer 'conv1' of 'cnn' has several scores on 'd\.V4"):
        layer_heat_map(pd.concat([table, table], ignore_index=True))


@pytest.fixture
def pair() -> tuple:
    generator = np.random.default_rng(0)
    upper = np.triu(generator.uniform(size=(2, 6, 6)), k=1)
    labels = [f"image{i}" for i in range(6)]
    values = upper + upper.swapaxes(1, 2)
    recorded = rdms(values, stimulus=labels, subject=["s1", "s2"], region="IT", species="human")
    model = rdms(
        values[:1] ** 3, stimulus=labels, subject=["model"], region="IT", species="none"
    ).isel(stimulus=slice(None, None, -1), stimulus_other=slice(None, None, -1))
    return model, recorded


def test_rdm_pair_is_ranked_aligned_and_sorted_by_category(pair: tuple) -> None:
    model, recorded = pair
    names = ["face", "house", "face", "house", "face", "house"]
    categories = dict(zip(recorded["stimulus"].values, names, strict=True))
    figure = rdm_pair(model, recorded.isel(subject=[0]), categories=categories, note="simulated")
    left, right = (axis.images[0].get_array() for axis in figure.axes[:2])
    np.testing.assert_allclose(left, right)  # a monotonic change leaves the ranks
    assert sorted(np.unique(right)) == pytest.approx([100 * i / 15 for i in range(16)])
    order = [0, 2, 4, 1, 3, 5]
    first = recorded.values[0][np.ix_(order, order)]
    assert np.unravel_index(first.argmax(), first.shape) == np.unravel_index(
        np.asarray(right).argmax(), right.shape
    )
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["face", "house"]
    assert title(figure) == "simulated"


def test_rdm_pair_averages_subjects(pair: tuple) -> None:
    model, recorded = pair
    mean = recorded.mean("subject")
    of_subjects, of_mean = (
        rdm_pair(model, rdm).axes[1].images[0].get_array() for rdm in (recorded, mean)
    )
    np.testing.assert_array_equal(of_subjects, of_mean)


def test_rdm_pair_refuses_a_stimulus_without_category(pair: tuple) -> None:
    with pytest.raises(ContractError, match=r"5 of 6 stimuli have no category; first: 'image1'"):
        rdm_pair(*pair, categories={"image0": "face"})


def test_rdm_pair_refuses_missing_stimuli(pair: tuple) -> None:
    model, recorded = pair
    with pytest.raises(ContractError, match="source lacks 2 of the target's 6 stimuli"):
        rdm_pair(model.isel(stimulus=slice(4), stimulus_other=slice(4)), recorded)


def test_files_are_the_same_each_time_and_embed_their_fonts(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    first = save_figure(score_bars(table), tmp_path / "one" / "scores.v1")
    second = save_figure(score_bars(table), tmp_path / "two" / "scores.v1")
    assert [path.name for path in first] == ["scores.v1.pdf", "scores.v1.svg", "scores.v1.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    pdf, svg, png = first
    assert b"/FontFile2" in pdf.read_bytes()
    assert b"/Type3" not in pdf.read_bytes()
    assert svg.read_text(encoding="utf-8").rstrip().endswith("</svg>")
    with Image.open(png) as image:
        assert min(np.asarray(image.convert("L")).ravel()) < 50


def test_unknown_format_is_refused_before_anything_is_written(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match=r"unknown formats \['gif'\], expected \['pdf', 'svg'"):
        save_figure(score_bars(table), tmp_path / "scores", formats=("pdf", "gif"))
    assert not list(tmp_path.iterdir())


def test_place_that_cannot_be_written_is_named(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        save_figure(score_bars(table), tmp_path / "file" / "scores", formats=("png",))


def test_drawing_needs_no_backend_and_no_global_figure() -> None:
    code = (
        "import sys, brainscore_lite.figures; print({'matplotlib.pyplot'} & set(sys.modules) or '')"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == ""
