{
  "targets": [{ "target_name": "addon", "type": "none", "sources": ["<!(node collect.js)"] }]
}
