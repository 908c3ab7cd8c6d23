# pandas 2 ships types inferred from its source, under which most correct programs fail to check (a column may be an
# ndarray, a filtered frame a Series). Here its objects are of type Any, so that everything around them is still checked.
from typing import Any

def __getattr__(name: str) -> Any: ...
