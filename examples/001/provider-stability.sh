#!/usr/bin/env bash
# Seed 001, using different providers: Stability AI.
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/images/generations" \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer $ATELIER_API_KEY" \
  -d '{
    "model": "stability/stable-diffusion-xl-1024-v1-0",
    "prompt": "A magical forest with glowing mushrooms"
  }'
