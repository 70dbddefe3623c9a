#!/usr/bin/env bash
# Seed 001, natural style portrait.
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $ATELIER_API_KEY" \
  -d '{
    "model": "dall-e-3",
    "prompt": "Professional portrait photograph of a senior software engineer in a modern office",
    "size": "1024x1792",
    "style": "natural",
    "quality": "hd"
  }'
