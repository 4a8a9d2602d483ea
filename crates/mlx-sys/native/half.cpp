// mlx-c gives access to half-precision values on aarch64 only; mlx-rs needs it everywhere. The
// pointers are to MLX's own half types, which are two bytes wide; Rust reads them as bits.
#include <cstdint>
#include <cstring>

#include "mlx/c/array.h"
#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"

namespace {
template <typename Half>
int item(uint16_t* res, const mlx_array arr) {
  static_assert(sizeof(Half) == sizeof(uint16_t));
  try {
    const Half value = mlx_array_get_(arr).item<Half>();
    std::memcpy(res, &value, sizeof(value));
    return 0;
  } catch (std::exception& e) {
    mlx_error(e.what());
    return 1;
  }
}

template <typename Half>
const uint16_t* data(const mlx_array arr) {
  try {
    return reinterpret_cast<const uint16_t*>(mlx_array_get_(arr).data<Half>());
  } catch (std::exception& e) {
    mlx_error(e.what());
    return nullptr;
  }
}
} // namespace

#ifndef HAS_FLOAT16
extern "C" int mlx_array_item_float16(uint16_t* res, const mlx_array arr) {
  return item<mlx::core::float16_t>(res, arr);
}
extern "C" const uint16_t* mlx_array_data_float16(const mlx_array arr) {
  return data<mlx::core::float16_t>(arr);
}
#endif

#ifndef HAS_BFLOAT16
extern "C" int mlx_array_item_bfloat16(uint16_t* res, const mlx_array arr) {
  return item<mlx::core::bfloat16_t>(res, arr);
}
extern "C" const uint16_t* mlx_array_data_bfloat16(const mlx_array arr) {
  return data<mlx::core::bfloat16_t>(arr);
}
#endif
