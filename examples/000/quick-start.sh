#!/usr/bin/env bash
# Seed 000, quick start.
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $ATELIER_API_KEY" \
  -d '{
    "model": "dall-e-3",
    "prompt": "A futuristic city skyline at sunset, digital art style",
    "n": 1,
    "size": "1024x1024"
  }'
