#!/usr/bin/env bash
# Seed 002, HD quality with natural style.
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "x-portkey-provider: openai" \
  -H "x-portkey-api-key: $ATELIER_API_KEY" \
  -d '{
    "prompt": "A professional photograph of a coffee cup on a wooden table",
    "model": "dall-e-3",
    "size": "1024x1024",
    "quality": "hd",
    "style": "natural"
  }'
