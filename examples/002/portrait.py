# Seed 002, portrait orientation. Needs `pip install portkey-ai`. The tests have no access to PyPI: they replay the requests that the package sends.
import os

from portkey_ai import Portkey

client = Portkey(
    provider="openai",
    Authorization=os.environ["ATELIER_API_KEY"],
    base_url=os.environ.get("ATELIER_URL", "http://127.0.0.1:8080") + "/v1",
)

response = client.images.generate(
    prompt="A portrait of a wise old wizard",
    model="dall-e-3",
    size="1024x1792",  # Portrait format
    quality="hd",
)

print(response.data[0].url)
