#!/usr/bin/env bash
# Seed 001, base64 response format.
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $ATELIER_API_KEY" \
  -d '{
    "model": "dall-e-3",
    "prompt": "Abstract geometric pattern in blue and gold",
    "response_format": "b64_json",
    "size": "1024x1024"
  }'
