from __future__ import annotations

from xml.etree import ElementTree as ET

from router_service.evaluation.plot import SPARK_WIDTH, Panel, sparkline, svg

SVG = "{http://www.w3.org/2000/svg}"


def test_a_plot_is_an_svg_with_a_line_for_each_series_and_no_script() -> None:
    panels = [
        Panel(title="one <b>", series={"a & b": [0.0, 1.0, 3.0], "c": [0.5]}),
        Panel(title="two", series={"d": [1.0] * 120}),
    ]
    root = ET.fromstring(svg(panels))
    assert len(root.findall(f"{SVG}polyline")) == 3
    texts = [each.text for each in root.findall(f"{SVG}text")]
    assert {"one <b>", "a & b", "two", "120 s", "100%"} <= set(texts)
    assert {each.tag.removeprefix(SVG) for each in root.iter()} == {"svg", "rect", "text", "line", "polyline"}


def test_a_line_stays_within_its_panel() -> None:
    root = ET.fromstring(svg([Panel(title="", series={"a": [0.0, 99.0]})]))
    line = root.find(f"{SVG}polyline")
    assert line is not None
    low, high = (float(point.partition(",")[2]) for point in line.attrib["points"].split())
    assert (low, high) == (160.0, 40.0)


def test_a_plot_of_nothing_is_one() -> None:
    assert ET.fromstring(svg([Panel(title="", series={})])).tag == f"{SVG}svg"


def test_blocks_grow_with_the_use_and_are_full_at_the_limit() -> None:
    assert sparkline([0.0, 0.5, 1.0, 1.2]) == "▁▅██"
    assert sparkline([]) == ""
    assert len(sparkline([1.0] * 500)) == SPARK_WIDTH
