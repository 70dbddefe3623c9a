# Seed 002, Python SDK. Needs `pip install portkey-ai`. The tests have no access to PyPI: they replay the requests that the package sends.
import os

from portkey_ai import Portkey

client = Portkey(
    provider="openai",
    Authorization=os.environ["ATELIER_API_KEY"],
    base_url=os.environ.get("ATELIER_URL", "http://127.0.0.1:8080") + "/v1",
)

response = client.images.generate(
    prompt="A cute baby sea otter wearing a beret",
    model="dall-e-3",
    n=1,
    size="1024x1024",
    quality="hd",
)

image_url = response.data[0].url
print(f"Image URL: {image_url}")
print(f"Revised prompt: {response.data[0].revised_prompt}")
