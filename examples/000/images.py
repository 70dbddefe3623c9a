# Seed 000, Python example. Needs `pip install openai`. The tests have no access to PyPI: they replay the request that the package sends.
import os

from openai import OpenAI

client = OpenAI(
    api_key=os.environ["ATELIER_API_KEY"],
    base_url=os.environ.get("ATELIER_URL", "http://127.0.0.1:8080") + "/v1",
)

response = client.images.generate(
    model="dall-e-3",
    prompt="A cat wearing a space helmet, oil painting",
    size="1024x1024",
    quality="standard",
    n=1,
)
print(response.data[0].url)
