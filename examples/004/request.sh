#!/usr/bin/env bash
# Seed 004, request example.
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $ATELIER_API_KEY" \
  -d '{
    "model": "dall-e-3",
    "prompt": "A cat wearing a spacesuit walking on the moon with Earth in the background",
    "n": 1,
    "size": "1024x1024",
    "quality": "hd",
    "style": "vivid"
  }'
