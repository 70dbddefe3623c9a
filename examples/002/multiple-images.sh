#!/usr/bin/env bash
# Seed 002, generate multiple images (DALL·E 2).
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-provider: openai" \
  -H "x-portkey-api-key: $ATELIER_API_KEY" \
  -d '{
    "prompt": "A futuristic cityscape at sunset",
    "model": "dall-e-2",
    "n": 4,
    "size": "512x512"
  }'
