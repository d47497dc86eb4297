"""axe-core, which looks for what keeps people from reading a page: in a browser that shows it."""

from importlib.resources import files
from typing import Any

GRAVE = ("serious", "critical")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "resultTypes": ["violations"]}
RUN = "const [rules, done] = arguments; axe.run(document, rules).then(done, error => done({error: String(error)}))"


def grave_findings(driver: Any) -> list[str]:
    """Serious and critical findings of the page that `driver` shows: rule, why it matters, and where."""
    driver.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = driver.execute_async_script(RUN, RULES)
    assert "violations" in found, found
    assert found["passes"], "axe looked at nothing"
    return [
        f"{one['id']}: {one['help']}, in {len(one['nodes'])} places, as {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in GRAVE
    ]
