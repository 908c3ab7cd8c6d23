"""The report in a real browser, used as people use it: odd choices, zoom, one seed, paper, keyboard and screen reader."""

import pytest
from report_pages import STUDY, choose, opened, write_study
from synthetic_accuracies import synthetic_study

from empirical.report.page import write_report

pytestmark = pytest.mark.slow


def chosen(browser) -> list[str]:
    return browser.execute_script("return ['first', 'second'].map(id => document.getElementById(id).value)")


def test_a_source_does_not_mix_with_itself(browser, measured_page: str) -> None:
    opened(browser, measured_page)
    first, second = chosen(browser)
    choose(browser, "second", first)
    assert chosen(browser) == [second, first]
    choose(browser, "first", first)
    assert chosen(browser) == [first, second]
    caption = browser.execute_script("return document.querySelector('#at-share caption').innerText")
    assert first.replace("_", " ") in caption
    assert second.replace("_", " ") in caption


def test_curves_and_filled_diamonds_are_of_one_size(browser, measured_page: str) -> None:
    opened(browser, measured_page)
    pair, n = (
        set(chosen(browser)),
        int(browser.execute_script("return document.getElementById('size').value")),
    )
    models = browser.execute_script("return window.studyData.models")
    of_pair = [
        m["n_train"]
        for m in models
        if m["kind"] == "input_mixing" and {part.split(":")[0] for part in m["sources"].split("+")} == pair
    ]
    drawn = dict(
        browser.execute_script(
            "return document.getElementById('plane').data.filter(t => /^this pair/.test(t.name)).map(t => [t.name, t.x.length])"
        )
    )
    here = of_pair.count(n)
    assert drawn == {f"this pair at n = {n:,}": here, "this pair at other n": len(of_pair) - here}
    assert 0 < here < len(of_pair)


def test_one_seed_draws_no_intervals_and_claims_none(browser, tmp_path) -> None:
    seen = {}
    for seeds in ((0,), (0, 1)):
        folder = tmp_path / str(len(seeds))
        write_study(folder, synthetic_study(seeds=seeds))
        opened(browser, write_report(folder, folder / "report.html").as_uri())
        seen[len(seeds)] = browser.execute_script(
            "const p = document.getElementById('ratio');"
            "return [p.querySelectorAll('.errorbar path').length, p.layout.yaxis.range[0],"
            " Math.min(...p.data.flatMap(t => t.y)), document.getElementById('ratio-intervals').innerText]"
        )
        assert browser.get_log("browser") == []
    bars, bottom, lowest, words = seen[1]
    assert (bars, words) == (0, "no 95% intervals: too few models")
    assert bottom > 0.8 * lowest > 0
    bars, _, _, words = seen[2]
    assert bars > 0
    assert words == "95% intervals"
    bars = browser.execute_script("return Plots.whiskers([[1, null, 2], [1, 0.5, 3]]).array.map(String)")
    assert bars == ["NaN", "2"]


def test_a_study_of_filters_alone(browser, tmp_path) -> None:
    page = write_report(STUDY.with_name("filter_rule"), tmp_path / "report.html").as_uri()
    opened(browser, page)
    shown = browser.execute_script(
        "return [...document.querySelectorAll('h2')].filter(h => h.offsetParent).map(h => h.innerText)"
    )
    assert shown == ["Mixing", "Filtering", "Provenance"]
    assert "no mixture" in browser.execute_script("return document.querySelector('main').innerText")
    assert browser.execute_script("return document.getElementById('plane').data.length") > 6
    assert browser.get_log("browser") == []


def test_no_button_sends_a_chart_away(browser, page: str) -> None:
    opened(browser, page)
    buttons = browser.execute_script(
        "return [...document.querySelectorAll('.modebar-btn')].map(b => [b.dataset.title || b.ariaLabel, b.tabIndex])"
    )
    assert {title for title, _ in buttons} == {
        "Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Autoscale", "Reset axes",
    }  # fmt: skip
    assert {index for _, index in buttons} == {-1}
    assert browser.execute_script("return document.getElementById('plane')._context.plotlyServerURL") == ""


@pytest.mark.parametrize("link", ["probit", "dprime"])
def test_ticks_follow_the_zoom(browser, measured_page: str, link: str) -> None:
    opened(browser, measured_page)
    choose(browser, "link", link)
    read = (
        "const axes = document.getElementById('plane').layout;"
        "return ['xaxis', 'yaxis'].map(a => [axes[a].range, axes[a].tickvals, axes[a].ticktext])"
    )
    wide = browser.execute_script(read)
    middle = [(0.52 * a[0] + 0.48 * a[1], 0.48 * a[0] + 0.52 * a[1]) for a, _, _ in wide]
    browser.execute_script(
        "Plotly.relayout('plane', {'xaxis.range': arguments[0], 'yaxis.range': arguments[1]})", *middle
    )
    near = browser.execute_script(read)
    browser.execute_script("Plotly.relayout('plane', {'xaxis.autorange': true, 'yaxis.autorange': true})")
    assert browser.execute_script(read) == wide
    browser.execute_script("document.querySelectorAll('#sources input').forEach(box => box.click())")
    for (low, high), places, words in [*wide, *near, *browser.execute_script(read)]:
        inside = [at for at in places if low <= at <= high]
        assert len(inside) >= 3, (low, high, words)
        assert len(set(words)) == len(words)


def test_ticks_of_the_share_kept_follow_the_zoom(browser, measured_page: str) -> None:
    opened(browser, measured_page)
    browser.execute_script("Plotly.relayout('filtered', {'xaxis.range': [-0.5, -0.45]})")
    words = browser.execute_script("return document.getElementById('filtered').layout.xaxis.ticktext")
    assert len(words) >= 3
    assert "32%" in words


def test_plots_and_tables_say_what_they_are(browser, page: str) -> None:
    opened(browser, page)
    choose(browser, "shift", "sketch")
    labels = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map(p => [p.getAttribute('role'), p.getAttribute('aria-label')])"
    )
    assert len(labels) == 3
    assert all(role == "img" and "sketch" in label for role, label in labels)
    captions = browser.execute_script(
        "return [...document.querySelectorAll('table')].map(t => t.caption && t.caption.innerText)"
    )
    assert all(captions)
    assert len(captions) == len(set(captions)) == 3


def test_paper_holds_the_whole_page(browser, page: str) -> None:
    opened(browser, page, dark=True)
    before = browser.execute_script("return document.getElementById('filtered').clientWidth")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 703, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
    )  # A4 within its margins
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 703
    cut = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter(e => getComputedStyle(e).overflowY !== 'visible'"
        " || getComputedStyle(e).maxHeight !== 'none').map(e => e.firstChild.id)"
    )
    assert cut == []
    plots = browser.execute_script(
        "return [...document.querySelectorAll('.plot')].map(p => [p.clientWidth, p.clientHeight,"
        " p.querySelector('.main-svg').clientWidth, p.querySelector('.main-svg').clientHeight])"
    )
    assert len(plots) == 3
    for width, height, drawn_width, drawn_height in plots:
        assert (width, height) == (drawn_width, drawn_height)
    look = (
        "return [document.documentElement.dataset.theme || null, document.querySelector('details').open,"
        " getComputedStyle(document.querySelector('.swatch')).printColorAdjust,"
        " document.getElementById('plane').layout.plot_bgcolor]"
    )
    assert browser.execute_script(look) == ["light", True, "exact", "#ffffff"]
    opened_again = "dispatchEvent(new Event('afterprint'))"
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "screen", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    browser.execute_script(opened_again)
    assert browser.execute_script(look)[:2] == [None, False]
    assert browser.execute_script("return document.getElementById('plane').layout.plot_bgcolor") == "#14181d"
    assert (
        browser.execute_script("return document.querySelector('#filtered .main-svg').clientWidth") == before
    )
    assert browser.get_log("browser") == []
