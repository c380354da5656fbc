"""The report is one small file in order, whatever the model, the classes and the pictures are."""

import functools

import numpy as np

from jaxcnn.analysis.measure import measure
from jaxcnn.report import (
    LIGHT,
    Note,
    Report,
    class_bars,
    confusion_chart,
    in_both_themes,
    likely_label_errors,
    misclassified,
    report_page,
    sample_predictions,
    to_png,
    verdict,
)
from tests.report.pages import check_page
from tests.report.predictions import HOSTILE, digit_predictions, drawn, measured


@functools.cache
def charts(num_classes, each, names):
    found = measured(num_classes, each, names)
    names = list(found.classes)
    drawn = {
        "confusion_matrix": lambda theme: confusion_chart(found.confusion, names, None, theme),
        "classes": lambda theme: class_bars(found, theme),
    }
    return {name: in_both_themes(draw) for name, draw in drawn.items()}


def report(num_classes, names=None, predictions=(), each=20, **more):
    found = measured(num_classes, each, names)
    galleries = {
        "predictions": sample_predictions(predictions),
        "misclassified": misclassified(predictions),
        "label_errors": likely_label_errors(predictions),
    }
    pictures = {"charts": charts(num_classes, each, names), "galleries": galleries}
    return Report("A model", verdict(found, "test"), found, "test", **pictures, **more)


def photos(names):
    """Twenty noisy 500x375 photos: the largest files that thumbnails become."""
    rng = np.random.default_rng(0)
    return [
        one._replace(image=rng.integers(0, 256, (375, 500, 3), np.uint8), label=name, name=name)
        for one, name in zip(digit_predictions(20), names, strict=False)
    ]


def test_a_report_on_digits_is_whole_small_and_in_order():
    content = report(10, predictions=digit_predictions(24), command="jaxcnn train")
    page = report_page(content)
    reader = check_page(page)
    assert content.verdict.replace(" %", "\u00a0%") in page and "jaxcnn train" in page
    assert len(page) < 2_000_000
    assert len(reader.all("source")) == 2  # charts have a dark version; paper keeps the light one
    assert all(s["media"].startswith("screen") for s in reader.all("source"))
    assert len(reader.all("nav")) == len(reader.all("main")) == 1


def test_hostile_names_are_shown_and_do_nothing():
    notes = [Note(HOSTILE[0], HOSTILE[0], serious=True)]
    more = dict.fromkeys(HOSTILE, HOSTILE[0])
    page = report_page(
        report(
            5,
            HOSTILE,
            photos(HOSTILE),
            notes=notes,
            facts=more,
            config=more,
            environment=more,
            command=HOSTILE[0],
            parameters=[(HOSTILE[0], HOSTILE[0], 3)],
            suspects=[(*HOSTILE[:3], 0.5)],
        )
    )
    check_page(page)
    assert '<img src="http' not in page and "&lt;img src=&quot;http://x&quot;&gt;&amp;" in page
    page.encode("utf-8")


def test_a_thousand_classes_and_photos_stay_small():
    found = measured(1000, 3)
    content = report(1000, predictions=photos(list(found.classes)), each=3)
    page = report_page(content)
    check_page(page)
    assert len(page) < 5_000_000
    assert "All 1,000 classes" in page and page.count("<tr>") > 1000


def test_a_single_class_has_a_report_too():
    page = report_page(report(1, predictions=digit_predictions(4)))
    check_page(page)
    assert "top-5" not in page


def test_what_a_run_does_not_have_has_no_section():
    bare = report_page(Report("Bare", "Good.", measured(10), "test"))
    reader = check_page(bare)
    titles = [heading["id"] for heading in reader.all("h2")]
    assert titles == ["the-numbers", "what-is-taken-for-what", "classes"]
    assert "<img" not in bare and "Grad-CAM" not in bare


def test_a_missing_value_or_interval_has_its_reason():
    found = measured(10)
    undefined = found.metrics["roc_auc_macro"]._replace(
        value=None, low=None, high=None, reason="one class only"
    )
    unsure = found.metrics["brier"]._replace(low=None, high=None, reason="too many to resample")
    changed = found.metrics | {"roc_auc_macro": undefined, "brier": unsure}
    page = report_page(Report("R", "Good.", found._replace(metrics=changed), "test"))
    assert "not defined: one class only" in page and "no interval: too many to resample" in page


def test_other_ways_to_measure_stand_beside_the_plain_numbers():
    label, logits = drawn(10, 20)
    names = list(measured(10).classes)
    cold = measure(label, logits, names, temperature=2.0, resamples=20)
    plain = measured(10)
    groups = {"camera 1": plain.metrics | {}, "camera 2": cold.metrics | {}}
    grouped = plain._replace(groups=groups, group_sizes=dict.fromkeys(groups, 100))
    calibration = {"plain": plain.metrics, "temperature 2": cold.metrics}
    content = Report(
        "R",
        "Good.",
        grouped,
        "test",
        augmented=plain,
        calibration=calibration,
        calibration_note="Kept with the model.",
    )
    page = report_page(content)
    check_page(page)
    assert "with test-time augmentation" in page and "Kept with the model." in page
    for found in (plain, cold):
        assert f"{found.metrics['loss'].value:.3f}" in page
    assert page.index("camera") < page.index("temperature 2")


def test_a_chart_on_disk_is_the_light_one():
    found = measured(10)
    chart = charts(10, 20, None)["classes"]
    assert chart.light == to_png(class_bars(found, LIGHT)) != chart.dark
