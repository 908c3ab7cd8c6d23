"""What more data of each source buys on every test set, and how fast d′ grows with n."""

from pathlib import Path

from empirical.figures.data_efficiency import draw_data_efficiency
from empirical.figures.elements import readable
from empirical.robustness import growth_exponents, judged_sizes
from paper_figures.captions import Caption, number
from paper_figures.committed import MEASURED, Records

STUDY = MEASURED


def draw(records: Records, stem: Path) -> None:
    """Draw from a CLIP study's tables."""
    draw_data_efficiency(records["accuracies"], stem, records.reference)


def caption(records: Records) -> Caption:
    """Range of the growth exponents per test set, and which lie above the theory's bound."""
    growth = growth_exponents(records["accuracies"])
    numbers, words = {}, []
    for name, rows in growth.groupby("test_set", sort=False):
        numbers[f"least growth {name}"] = number(rows["exponent"].min(), 2)
        numbers[f"most growth {name}"] = number(rows["exponent"].max(), 2)
        words.append(f"{{least growth {name}}} to {{most growth {name}}} on {readable(str(name))}")
    numbers["above"] = str(int((growth["exponent_low"] > 0.5).sum()))
    numbers["fits"] = str(len(growth))
    least = judged_sizes(records["accuracies"])
    judged = growth_exponents(records["accuracies"], least)
    numbers |= {
        "above where judged": str(int((judged["exponent_low"] > 0.5).sum())),
        "fits where judged": str(len(judged)),
        "smallest mixture": f"{least:,}",
    }
    text = (
        "Data efficiency of single-source models: accuracy on an axis of log d′ against training samples, means over seeds with "
        "95% intervals. Growth dlog d′/dlog n, by power laws fitted to d′, is "
        + ", ".join(words)
        + "; Theorem 1 bounds it by 1/2, and {above} of {fits} "
        "fits lie above that at 95%"
        + (
            ", {above where judged} of {fits where judged} from {smallest mixture} samples on, where mixtures are judged."
            if least
            else "."
        )
    )
    return Caption(text, numbers)
