#!/usr/bin/env bash
# Seed 003, basic usage.
# Needs ATELIER_API_KEY; ATELIER_URL where the server is not on this machine.
curl -sS --fail-with-body -X POST "${ATELIER_URL:-http://127.0.0.1:8080}/v1/openai/images/generations" \
  -H "accept: application/json" \
  -H "authorization: Bearer $ATELIER_API_KEY" \
  -H "content-type: application/json" \
  -d '{
    "model": "dall-e-3",
    "prompt": "A cute baby sea otter"
  }'
