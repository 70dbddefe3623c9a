#!/usr/bin/env bash
# Seed 001, multiple images (DALL·E 2).
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $ATELIER_API_KEY" \
  -d '{
    "model": "dall-e-2",
    "prompt": "Minimalist logo design for a tech startup",
    "n": 4,
    "size": "512x512"
  }'
