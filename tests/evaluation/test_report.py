"""The report: it tells everything in the evaluation, tells the truth, and no title can harm its reader."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest

from gfm_store.evaluation.ablations import LINEAR, NEITHER, WITHOUT_HGNN
from gfm_store.evaluation.baselines import Popularity
from gfm_store.evaluation.metrics import COVERAGE, METRICS, NOVELTY, TAIL, Estimate
from gfm_store.evaluation.report import write_report
from gfm_store.evaluation.report.figures import MAIN, Figures, number, signed
from gfm_store.evaluation.report.sections import Drawings
from gfm_store.evaluation.result import (
    MODEL,
    Evaluation,
    Example,
    ExampleItem,
    Figure,
    GridPoint,
    ItemMap,
    Series,
    System,
    ViewSummary,
)

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></svg><iframe src=https://evil.example>",
    "{{ 7 * 7 }} {% raw %} $x^2$ &amp;",
    "-->]]><!-- \x00 \x0b \ud800",
]
FOREIGN = [
    "日本語の長いタイトル、とても長いので折り返しが必要です",
    "تاريخ الإمبراطورية الرومانية",
    "История древнего мира",
]
LONG = "The extraordinarily long and winding title of a serial about everything and nothing at all, " * 2
TYPES = ["podcast", "audiobook", "music", "有声书"]
BASELINES = {
    "Popularity": 0.42,
    "ItemKNN": 0.86,
    "RP3beta": 0.88,
    "EASE": 0.9,
    "iALS": 0.8,
    "Text, TF-IDF": 0.5,
    "Text, sentence vectors": 0.55,
    "ItemKNN + text + popularity": 0.93,
    "HGNN vectors alone": 0.7,
    "Two-tower without graph": 0.84,
    "Most recent": 0.3,
    "<script>alert(2)</script>": 0.2,
}
ABLATIONS = {
    "One model per type": 0.9,
    "Without HGNN": 0.85,
    "Without text": 0.95,
    "Homogeneous graph": 0.97,
    "Without the balanced sampler": 0.99,
    "Without weak signals": 1.01,
    "Frozen HGNN": 0.995,
    "Withheld: audiobook": 0.8,
    "Without history features": 0.75,
    "Shuffled edges": 1.06,
}


def view_names():
    """Name and title of 20 views like those of the temporal protocol."""
    yield from (("headline", "Headline"), ("first", "First item"), ("all", "All items"))
    yield from (("warm users", "Warm users"), ("new users", "New users"))
    for name in TYPES[:3]:
        yield from ((f"type:{name}", name), (f"new to {name}", f"New to {name}"))
    yield from ((f"popularity {i}/5", f"Popularity {i}/5") for i in range(1, 6))
    yield from (("cold", "Cold items, alone"), ("cold among all", "Cold items, among all"))
    yield ("cold, catalogue known", "Cold items, alone (catalogue known)")
    yield ("cold among all, catalogue known", "Cold items, among all (catalogue known)")


def around(value, spread):
    return Estimate(value, value - spread, value + spread)


def system(name, kind, **changes):
    known = {"about": f"{name}, in a sentence.", "settings": {}, "grid": [], "tuning_seconds": 0.0}
    known |= {"seconds": 12.5, "peak_mb": 812.0, "reused": False, "by_seed": []}
    return System(name=name, kind=kind, **(known | changes))


def figure(name, view, metric, value, model):
    """A figure with plausible comparisons; None for all of it where `value` is None."""
    if value is None:
        return Figure(name, view, metric, None, None, None)
    estimate = around(value, 0.04 * value)
    if name == MODEL:
        return Figure(name, view, metric, estimate, None, None)
    return Figure(
        name, view, metric, estimate, around(model - value, 0.03 * model), around(model / value, 0.06)
    )


def realistic():
    """12 baselines, 20 views, 10 ablations, 2 series, 1,500 places, 10 users."""
    draw = np.random.default_rng(0)
    strength = {MODEL: 1.0, "Hidden truth": 1.4} | BASELINES
    base = dict(zip(METRICS, (0.31, 0.1234567, 0.42, 0.55, 0.2, 0.38, 0.05, 9.3), strict=True))
    figures, views = [], []
    for i, (name, title) in enumerate(view_names()):
        about = (
            f"{title}: only what belongs to it is measured, and every item available at the cut is ranked."
        )
        views.append(ViewSummary(name, title, about, max(0, 12000 - 700 * i), 40000 - 1000 * i, 5000))
        strengths = strength | (ABLATIONS if i == 0 else {})
        for metric, level in base.items():
            if metric == COVERAGE and i > 0:
                continue
            for who, share in strengths.items():
                value = float(level * share * (1 - 0.03 * i) * draw.uniform(0.97, 1.03))
                nothing = (
                    name == "cold" or (metric == TAIL and who == "Popularity") or (i == 3 and who == "iALS")
                )
                mine = level * (1 - 0.03 * i)
                figures.append(figure(who, name, metric, None if nothing else value, mine))
    grid = [
        GridPoint({"neighbours": n, "shrink": s}, 0.08 + n / 1e4) for n in (20, 50, 200) for s in (0.0, 10.0)
    ]
    epochs = [{"loss": 3 / (i + 1) + 0.2, "validation": 0.1 - 0.08 / (i + 1)} for i in range(12)]
    systems = [
        system(MODEL, "model", curves={"HGNN": epochs, "two-tower": epochs}, seconds=431.0, peak_mb=2100.0)
    ]
    systems += [
        system(name, "baseline", settings=grid[3].settings, grid=grid, tuning_seconds=75.0, reused=i % 3 == 0)
        for i, name in enumerate(BASELINES)
    ]
    systems += [system("Hidden truth", "oracle")]
    systems += [
        system(name, "ablation", settings={"static.text": False}, curves={"HGNN": epochs}, seconds=8000.0)
        for name in ABLATIONS
    ]
    curve = [around(0.02 * (i + 1), 0.01) for i in range(4)]
    windows = {"retrained": curve, "HGNN frozen": [*curve[:2], None, curve[3]], HOSTILE[0]: curve[::-1]}
    series = [
        Series(
            "Cold-start curve",
            "interactions",
            [0, 1, 5, 20],
            dict.fromkeys((MODEL, "EASE"), curve),
            "Withheld.",
        ),
        Series("Frozen or retrained", "window", [1, 2, 3, 4], windows, "Four successive windows."),
    ]
    angle = draw.normal(0, 0.4, 1500) + np.arange(1500) % 4 * 1.6
    titles = [*HOSTILE, *FOREIGN, LONG] + [f"Title {i}" for i in range(1500)]
    topics = [
        "history",
        "crime",
        "science",
        "",
        "<u>art</u>",
        "歴史",
        "sport",
        "news",
        "comedy",
        "health",
        "x\x0by",
    ]
    item_map = ItemMap(
        (np.cos(angle) * draw.uniform(2, 3, 1500)).tolist(),
        (np.sin(angle) * draw.uniform(2, 3, 1500)).tolist(),
        titles[:1500],
        [TYPES[i % 4] for i in range(1500)],
        [topics[i * i % len(topics)] for i in range(1500)],
    )
    listed = [*HOSTILE, *FOREIGN, LONG]
    examples = [
        Example(
            f"user-{u}" if u else "<user onclick=alert(3)>",
            [
                ExampleItem(f"item-{t}", title, TYPES[t % 4], "2026-03-01", False, [])
                for t, title in enumerate(listed)
            ],
            [
                ExampleItem(
                    f"item-{u}-{t}",
                    title,
                    TYPES[t % 4],
                    "",
                    (t + u) % 4 == 0,
                    [(LONG, 0.5), (listed[t], 0.25)],
                )
                for t, title in enumerate(listed)
            ],
        )
        for u in range(10)
    ]
    facts = {"versions": {"gfm-store": "0.1.0", "torch": "2.13"}, "seed": 0, "types": TYPES, "nothing": None}
    facts |= {
        "two_tower": {"layers": [512, 256, 128], "note": "<script>"},
        "runs": [{"part": "a", "days": 90}],
    }
    return Evaluation(
        protocol="temporal",
        protocol_about="One cut in time; everything is fitted on what is before it.",
        as_of=datetime(2026, 3, 1, tzinfo=UTC),
        horizon_days=14,
        tuning_as_of=datetime(2026, 2, 15, tzinfo=UTC),
        facts=facts,
        notes=["The catalogue holds only items with events.", HOSTILE[1]],
        views=views,
        systems=systems,
        figures=figures,
        series=series,
        item_map=item_map,
        examples=examples,
    )


def two(ratio, ratio_low, ratio_high, **changes):
    """The model and one baseline, with this ratio between them."""
    mine = Figure(MODEL, "headline", "NDCG@10", around(0.2 * ratio, 0.01), None, None)
    difference = Estimate(0.2 * (ratio - 1), 0.2 * (ratio_low - 1), 0.2 * (ratio_high - 1))
    ratios = Estimate(ratio, ratio_low, ratio_high)
    theirs = Figure("EASE", "headline", "NDCG@10", around(0.2, 0.01), difference, ratios)
    whole = least(systems=[system(MODEL, "model"), system("EASE", "baseline")], figures=[mine, theirs])
    return replace(whole, **changes)


def least(**changes):
    """One view, one system, nothing else."""
    whole = Evaluation(
        protocol="temporal",
        protocol_about="",
        as_of=datetime(2026, 3, 1, tzinfo=UTC),
        horizon_days=14,
        tuning_as_of=datetime(2026, 2, 15, tzinfo=UTC),
        facts={},
        notes=[],
        views=[ViewSummary("headline", "Headline", "Nobody.", 0, 0, 3)],
        systems=[system(MODEL, "model")],
        figures=[],
        series=[],
        item_map=None,
        examples=[],
    )
    return replace(whole, **changes)


class Page(HTMLParser):
    """Elements, attributes, text and figures of a written report."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.words, self.data = [], [], [], []
        self._style = 0
        self.feed(text)
        self.close()
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._style += tag == "style"
        if tag == "data":
            self.data.append(float(dict(attrs)["value"]))
        self.words.append(" ")

    def handle_endtag(self, tag):
        self._style -= tag == "style"
        self.words.append(" ")

    def handle_data(self, data):
        if not self._style:
            self.words.append(data)


def page_of(evaluation, folder):
    path = folder / "report.html"
    write_report(evaluation, path)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def evaluation():
    return realistic()


@pytest.fixture(scope="module")
def written(evaluation, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(evaluation, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def page(written):
    return Page(written.decode())


def squeezed(text):
    return " ".join(text.replace("\ud800", "?").replace("\x00", "\ufffd").split())


def test_everything_is_told(evaluation, page):
    told = [
        evaluation.protocol,
        evaluation.protocol_about,
        "2026-03-01 00:00:00 UTC",
        "2026-02-15 00:00:00 UTC",
    ]
    told += evaluation.notes + [part for view in evaluation.views for part in (view.title, view.about)]
    told += [part for one in evaluation.systems for part in (one.name, one.about, *one.curves)]
    told += [part for one in evaluation.series for part in (one.name, one.x_title, one.about, *one.lines)]
    told += ["podcast", "crime", "versions", "torch", "512", "two_tower", *METRICS, *METRICS.values()]
    for example in evaluation.examples:
        told.append(example.user)
        told += [
            part for one in example.history for part in (one.item_id, one.title, one.item_type, one.when)
        ]
        told += [part for one in example.items for part in (one.title, one.item_id)]
    missing = {one for one in told if squeezed(one) not in page.text.replace("\x00", "\ufffd")}
    assert not missing
    assert page.text.count("✓ streamed") == sum(one.is_target for e in evaluation.examples for one in e.items)
    assert page.text.count("✓ chosen") == len(BASELINES)
    assert page.text.count("reused") == sum(one.reused for one in evaluation.systems)
    assert "because of" in page.text and "(25%)" in page.text


def test_every_figure_is_in_the_tables_unrounded(evaluation, page):
    told = set(page.data)
    for one in evaluation.figures:
        if one.estimate:
            assert one.estimate.value in told, one
        if one.view == "headline":
            for each in filter(None, (one.estimate, one.ratio, one.difference)):
                assert {each.value, each.low, each.high} <= told, one
    for one in evaluation.series:
        assert {estimate.value for line in one.lines.values() for estimate in line if estimate} <= told
    assert {value for one in evaluation.systems for value in (one.seconds, one.peak_mb)} <= told
    assert {point.ndcg for one in evaluation.systems for point in one.grid} <= told


def test_the_headline_table_row_by_row(evaluation, written):
    section = written.decode().partition('<section id="headline">')[2].partition("</table>")[0]
    head, *rows = [Page(row).text.split() for row in re.findall(r"<tr.*?</tr>", section, re.DOTALL)]
    assert head[0] == "System"
    row = next(row for row in rows if row[0] == "EASE")
    shown = [float(part.strip("[],")) for part in row if re.fullmatch(r"\[?\d+\.\d+[\],]?", part)]
    expected = []
    for metric in ["NDCG@10", *(one for one in METRICS if one != "NDCG@10")]:
        one = evaluation.find("EASE", "headline", metric)
        places = 2 if metric == NOVELTY else 4
        expected += [
            round(part, places) for part in (one.estimate.value, one.estimate.low, one.estimate.high)
        ]
        if metric == "NDCG@10":
            expected += [round(part, 2) for part in (one.ratio.value, one.ratio.low, one.ratio.high)]
    assert shown == pytest.approx(expected, abs=1e-9)
    assert [row[0] for row in rows][:2] == ["Hidden", MODEL]  # by NDCG@10
    assert "oracle" in rows[0] and "model" in rows[1]


def test_hostile_titles_do_nothing(page):
    assert not {"script", "iframe", "img", "link", "object", "embed", "form", "base", "user", "u"} & set(
        page.elements
    )
    assert page.elements.count("style") == 1
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "src", "action", "xlink:href"):
            assert value.startswith("#"), (tag, name, value)
        assert "url(" not in value or re.fullmatch(r"url\(#[\w-]+\)", value), (tag, name, value)
    assert squeezed(HOSTILE[4]) in page.text  # as it is: nothing computed, nothing unescaped twice


def test_nothing_is_loaded(written):
    style = written.decode().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style
    assert len(written) < 1_500_000


def test_ids_are_unique_and_all_links_lead_somewhere(page):
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = {value[1:] for _, name, value in page.attributes if name == "href"}
    wanted |= {value[5:-1] for _, name, value in page.attributes if value.startswith("url(#")}
    assert wanted <= set(ids)


def test_a_reader_without_eyes(page):
    assert ("html", "lang", "en") in page.attributes
    assert page.elements.count("th") == sum(
        tag == "th" and name == "scope" for tag, name, _ in page.attributes
    )
    drawn = sum(tag == "svg" and name == "viewbox" for tag, name, _ in page.attributes)
    assert drawn == sum(
        tag == "svg" and name == "aria-label" and value != "" for tag, name, value in page.attributes
    )
    assert page.elements.count("h1") == 1


def test_no_colour_is_fixed_in_a_drawing(page):
    fixed = [
        value for _, name, value in page.attributes if name in ("style", "fill", "stroke") and "#" in value
    ]
    assert not [value for value in fixed if not value.startswith("url(#")]


def test_what_cannot_be_computed_is_said_and_never_0(evaluation, written, page):
    nothing = [one for one in evaluation.figures if one.estimate is None]
    assert page.text.count("not computable") >= len(nothing) > 100
    cold = written.decode().partition(">Cold items, alone</bdi></h4>")[2].partition("</article>")[0]
    assert not Page(cold).data
    # A row in the drawing, and every cell of the table but the model's ratio.
    assert Page(cold).text.count("not computable") >= 2 * (len(BASELINES) + 2)


def test_equal_evaluations_give_equal_bytes(written, tmp_path):
    again = tmp_path / "again.html"
    write_report(realistic(), again)
    assert again.read_bytes() == written


@pytest.mark.parametrize("estimate", [None, around(0.1, 0.02)], ids=["not computable", "computable"])
def test_the_least_evaluation(tmp_path, estimate):
    whole = least(figures=[Figure(MODEL, "headline", "NDCG@10", estimate, None, None)], tuning_as_of=None)
    page = page_of(whole, tmp_path)
    assert "not tuned" in page.text
    if estimate is None:
        assert "There is no answer: the model's NDCG@10 is not computable." in page.text
        assert not {value for value in page.data if value == 0}
    else:
        assert "there is no baseline to compare it with" in page.text
        assert 0.1 in page.data


def test_nothing_at_all_was_measured(tmp_path):
    page = page_of(least(views=[], systems=[], item_map=ItemMap([], [], [], [], [])), tmp_path)
    assert "There is no answer: the model was not measured." in page.text


@pytest.mark.parametrize(
    ("figures", "badge", "sentence"),
    [
        (
            (1.234, 1.1, 1.4),
            "Better, and we are sure",
            "gfm-store finds 23% more than the best tuned baseline, EASE: NDCG@10 0.2468 against 0.2000, "
            "ratio 1.23 with 95% interval 1.10 to 1.40. We are sure that it is better",
        ),
        (
            (0.95, 0.91, 0.99),
            "Worse, and we are sure",
            "gfm-store finds 5.0% less than the best tuned baseline, EASE: NDCG@10 0.1900 against 0.2000, "
            "ratio 0.95 with 95% interval 0.91 to 0.99. We are sure that it is worse",
        ),
        ((1.05, 0.98, 1.12), "Not sure", "finds 5.0% more than the best tuned baseline, EASE"),
        ((1.0, 0.9, 1.1), "Not sure", "finds as much as the best tuned baseline, EASE"),
    ],
)
def test_the_sentence_says_the_truth(tmp_path, figures, badge, sentence):
    page = page_of(two(*figures), tmp_path)
    assert badge in page.text
    assert sentence in page.text
    for other in {"Better, and we are sure", "Worse, and we are sure", "Not sure"} - {badge}:
        assert other not in page.text
    assert ("We are not sure" in page.text) == (badge == "Not sure")
    assert ("We are sure" in page.text) == (badge != "Not sure")


def test_the_sentence_names_untuned_baselines(tmp_path):
    assert (
        "the best baseline (none was tuned), EASE"
        in page_of(two(1.2, 1.1, 1.3, tuning_as_of=None), tmp_path).text
    )


def test_the_sentence_where_the_baseline_finds_nothing(tmp_path):
    whole = two(1.2, 1.1, 1.3)
    nothing = Figure("EASE", "headline", "NDCG@10", Estimate(0, 0, 0), around(0.24, 0.01), None)
    text = page_of(replace(whole, figures=[whole.figures[0], nothing]), tmp_path).text
    assert "gfm-store finds more than the best tuned baseline, EASE: NDCG@10 0.2400 against 0.0000" in text
    assert "difference +0.2400 with 95% interval +0.2300 to +0.2500. We are sure that it is better" in text


def test_the_best_baseline_is_the_one_with_the_highest_figure(page):
    assert "the best tuned baseline, ItemKNN + text + popularity:" in page.text


def test_an_interval_that_excludes_1_is_marked(tmp_path):
    def marks(*figures):
        tables = page_of(two(*figures), tmp_path).text.partition("Intervals hold")[2]
        return re.findall(r"model better|model worse|not sure", tables)

    assert "model better" in marks(1.2, 1.1, 1.3) and "model worse" not in marks(1.2, 1.1, 1.3)
    assert "model worse" in marks(0.8, 0.7, 0.9) and "model better" not in marks(0.8, 0.7, 0.9)
    assert set(marks(1.1, 0.9, 1.3)) == {"not sure"}


def test_novelty_is_higher_or_lower_but_not_better(page):
    table = page.text.partition("Model against each system, every metric")[2].partition(
        "What the systems are"
    )[0]
    assert "model higher" in table and "model better" in table
    assert table.count("model higher") <= 2 * 3 * len(BASELINES)  # ratio and difference of three metrics


def steps_of(values, **views):
    """An evaluation with the headline alone: NDCG@10 of some systems."""
    kinds = {MODEL: "model", Popularity.name: "baseline"}
    return Evaluation(
        "temporal", "About.", datetime(2026, 1, 1), 14, None, {}, [],
        [ViewSummary("headline", "Headline", "About.", 9, 9, 9)],
        [system(name, kinds.get(name, "ablation")) for name in values],
        [figure(name, "headline", MAIN, value, values.get(MODEL)) for name, value in values.items()],
        [], None, [],
    )  # fmt: skip


def test_the_waterfall_adds_up_from_step_to_step():
    values = {Popularity.name: 0.03, NEITHER: 0.04, WITHOUT_HGNN: 0.07, LINEAR: 0.08, MODEL: 0.095}
    found = steps_of(values)
    svg = str(Drawings(found, Figures(found)).waterfall().svg)
    shown = re.findall(r">([^<>]+)</text>", svg)
    steps = [signed(step) for step in (0.03, 0.01, 0.03, 0.01, 0.015)]
    assert [text for text in shown if re.fullmatch(r"[+]0?[.]\d+", text)] == steps
    assert number(0.095) in shown


def test_a_step_that_was_not_measured_is_left_out_and_one_alone_makes_no_waterfall():
    found = steps_of({Popularity.name: 0.03, WITHOUT_HGNN: None, MODEL: 0.09})
    svg = str(Drawings(found, Figures(found)).waterfall().svg)
    assert signed(0.06) in svg and "+ text" not in svg
    alone = steps_of({MODEL: 0.09})
    assert Drawings(alone, Figures(alone)).waterfall() is None
