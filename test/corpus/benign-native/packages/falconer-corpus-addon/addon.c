#include <node_api.h>

static napi_value init(napi_env env, napi_value exports) {
  napi_value one;
  if (napi_create_int32(env, 1, &one) == napi_ok) napi_set_named_property(env, exports, "one", one);
  return exports;
}

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
