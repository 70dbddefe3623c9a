# Seed 002, base64 response format. Needs `pip install portkey-ai`. The tests have no access to PyPI: they replay the requests that the package sends.
import base64
import os
from pathlib import Path

from portkey_ai import Portkey

client = Portkey(
    provider="openai",
    Authorization=os.environ["ATELIER_API_KEY"],
    base_url=os.environ.get("ATELIER_URL", "http://127.0.0.1:8080") + "/v1",
)

response = client.images.generate(
    prompt="A magical forest with glowing mushrooms",
    model="dall-e-3",
    response_format="b64_json",
)

# Decode and save base64 image
image_data = base64.b64decode(response.data[0].b64_json)
Path("image.png").write_bytes(image_data)
