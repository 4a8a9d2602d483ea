// mlx-c reports errors through std::format, which gcc 12 and older C++ libraries do not have.
// Force-included there: replaces each `{}` in turn, which is all that mlx-c asks of it.
#pragma once
#if !__has_include(<format>)
#include <cstddef>
#include <sstream>
#include <string>
#include <string_view>

namespace std {
template <typename... Args>
string format(string_view pattern, const Args&... args) {
  ostringstream out;
  [[maybe_unused]] auto put = [&](const auto& arg) {
    size_t hole = pattern.find("{}");
    out << pattern.substr(0, hole);
    if (hole == string_view::npos) {
      pattern = {};
      return;
    }
    out << arg;
    pattern.remove_prefix(hole + 2);
  };
  (put(args), ...);
  out << pattern;
  return out.str();
}
} // namespace std
#else
#include <format>
#endif
