"""What others call a latent: its label on Neuronpedia, asked for once, and only when the user says so."""

import http.client
import json
import urllib.request

from common.errors import AssetError

API = "https://www.neuronpedia.org/api/feature"
_PATIENCE_S = 5
_LARGEST = 20_000_000  # bytes of an answer, which holds examples too


def fetch_label(neuronpedia_id: str, latent: int, api: str = API) -> str | None:
    """The first explanation that the API at `api` has of a latent; None where it has none.

    Raises: AssetError when it does not answer within five seconds, or not as it should.
    """
    url = f"{api.rstrip('/')}/{neuronpedia_id}/{latent}"
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "pva-sae"})
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            answered = json.loads(answer.read(_LARGEST))
        labels = [str(entry["description"]).strip() for entry in answered.get("explanations") or []]
    # A refusal, silence, a connection that breaks off, no JSON, or other JSON than it should be.
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(
            f"{url} gave no label: {type(error).__name__}: {str(error)[:200]}\n"
            "Leave out --fetch-label, or try again where there is a network"
        ) from error
    return next(filter(None, labels), None)
