# Seed 002, landscape orientation. Needs `pip install portkey-ai`. The tests have no access to PyPI: they replay the requests that the package sends.
import os

from portkey_ai import Portkey

client = Portkey(
    provider="openai",
    Authorization=os.environ["ATELIER_API_KEY"],
    base_url=os.environ.get("ATELIER_URL", "http://127.0.0.1:8080") + "/v1",
)

response = client.images.generate(
    prompt="A panoramic view of the Grand Canyon at sunrise",
    model="dall-e-3",
    size="1792x1024",  # Landscape format
    quality="hd",
)

print(response.data[0].url)
