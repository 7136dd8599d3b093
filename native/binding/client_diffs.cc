// Tasks on diff streams: see client_diffs.hh.
#include "client_diffs.hh"

#include <utility>

#include "client_copies.hh"
#include "client_values.hh"
#include "diff/diff_export_job.hh"
#include "diff/diff_import_job.hh"
#include "diff/diff_merge_job.hh"
#include "image/diff_job.hh"

namespace cairn::binding {

namespace {

bool has(const Napi::Object& object, const char* key) { return !object.Get(key).IsUndefined(); }

std::string text_or_empty(const Napi::Object& object, const char* key) {
  return has(object, key) ? get_text(object, key) : std::string();
}

diff::ImageHeader get_image_header(const Napi::Object& object) {
  diff::ImageHeader header;
  header.order = get_u64(object, "order");
  header.features = get_u64(object, "features");
  header.stripe_unit_bytes = get_u64(object, "stripeUnitBytes");
  header.stripe_count = get_u64(object, "stripeCount");
  header.diff_count = get_u64(object, "diffCount");
  const auto metadata = object.Get("metadata").As<Napi::Array>();
  for (std::uint32_t i = 0; i < metadata.Length(); ++i) {
    const auto pair = metadata.Get(i).As<Napi::Array>();
    header.metadata.emplace_back(pair.Get(0U).ToString().Utf8Value(),
                                 pair.Get(1U).ToString().Utf8Value());
  }
  return header;
}

diff::DiffExportOptions get_export_options(const Napi::Object& object) {
  diff::DiffExportOptions options;
  options.header.version = static_cast<std::uint8_t>(get_u64(object, "version"));
  options.header.from_snap = text_or_empty(object, "fromName");
  options.header.to_snap = text_or_empty(object, "toName");
  options.header.is_protected = has(object, "protected") && get_flag(object, "protected");
  options.header.size_bytes = get_u64(object, "sizeBytes");
  if (has(object, "image"))
    options.image = get_image_header(object.Get("image").As<Napi::Object>());
  return options;
}

Napi::Value image_header_value(Napi::Env env, const diff::ImageHeader& header) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", "image");
  object.Set("order", static_cast<double>(header.order));
  object.Set("features", static_cast<double>(header.features));
  object.Set("stripeUnitBytes", static_cast<double>(header.stripe_unit_bytes));
  object.Set("stripeCount", static_cast<double>(header.stripe_count));
  object.Set("diffCount", static_cast<double>(header.diff_count));
  Napi::Array metadata = Napi::Array::New(env);
  for (std::uint32_t i = 0; i < header.metadata.size(); ++i) {
    Napi::Array pair = Napi::Array::New(env, 2);
    pair.Set(0U, header.metadata[i].first);
    pair.Set(1U, header.metadata[i].second);
    metadata.Set(i, pair);
  }
  object.Set("metadata", metadata);
  return object;
}

Napi::Value diff_header_value(Napi::Env env, const diff::DiffHeader& header) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("kind", "diff");
  object.Set("version", static_cast<double>(header.version));
  if (!header.from_snap.empty()) object.Set("fromName", header.from_snap);
  if (!header.to_snap.empty()) object.Set("toName", header.to_snap);
  object.Set("protected", header.is_protected);
  if (header.size_bytes) object.Set("sizeBytes", static_cast<double>(*header.size_bytes));
  return object;
}

// The image's differences, as they are asked for; the job is canceled when the device is closed.
diff::ExtentsSource image_source(ClientState& state, std::uint32_t handle,
                                 std::shared_ptr<image::ObjectIo> objects, image::DiffSpec spec) {
  return [&state, handle, objects = std::move(objects), spec](const diff::ExtentsReceiver& receiver,
                                                              UniqueFunction<void(Status)> done) {
    const auto job = image::DiffJob::start(objects, spec, receiver, std::move(done));
    state.devices().add_job(handle, job);
    return [weak = std::weak_ptr<image::ImageJob>(job)] {
      if (const auto held = weak.lock()) held->cancel();
    };
  };
}

}  // namespace

ClientQuestion export_diff_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  const auto object = info[2].As<Napi::Object>();
  image::DiffSpec spec;
  spec.from_snap = get_u64(object, "fromSnap");
  spec.whole_object = has(object, "wholeObject") && get_flag(object, "wholeObject");
  return [handle = info[0].ToNumber().Uint32Value(), fd = info[1].ToNumber().Int32Value(), spec,
          options = get_export_options(object), progress = get_copy_progress(info[3], thread)](
             ClientState& state, const Promise& promise) mutable {
    image::Image* const image = state.image(handle);
    image::BlockDevice* const device = state.device(handle);
    if (image == nullptr || device == nullptr)
      return promise.reject(Status(ErrorCode::not_found, "the image is closed"));
    options.absent_is_parent = image->objects()->layout().parent.device != nullptr;
    state.run_copy(
        [&](qcow2::CopyDone done) {
          return diff::DiffExportJob::create(state.reactor(), *device,
                                             image_source(state, handle, image->objects(), spec),
                                             fd, std::move(options), std::move(done));
        },
        std::move(progress), copy_answer(promise));
  };
}

ClientQuestion open_diff_task(const Napi::CallbackInfo& info) {
  return [fd = info[0].ToNumber().Int32Value()](ClientState& state, const Promise& promise) {
    state.diffs().open(fd, [promise](const Result<std::uint32_t>& number) {
      if (!number) return promise.reject(number.status());
      promise.resolve([value = number.value()](Napi::Env env) -> Napi::Value {
        return Napi::Number::New(env, value);
      });
    });
  };
}

ClientQuestion next_diff_task(const Napi::CallbackInfo& info) {
  return [number = info[0].ToNumber().Uint32Value()](ClientState& state, const Promise& promise) {
    const auto reader = state.diffs().find(number);
    if (reader == nullptr)
      return promise.reject(Status(ErrorCode::not_found, "the diff is closed"));
    DiffTable::next_header(reader, [reader, promise](const Result<diff::EventKind>& kind) {
      if (!kind) return promise.reject(kind.status());
      // The parser goes on when JavaScript has the header.
      const diff::DiffParser& parser = reader->parser();
      if (kind.value() == diff::EventKind::image)
        return promise.resolve([header = parser.image_header()](Napi::Env env) {
          return image_header_value(env, header);
        });
      if (kind.value() == diff::EventKind::diff)
        return promise.resolve([header = parser.diff_header()](Napi::Env env) {
          return diff_header_value(env, header);
        });
      promise.resolve([](Napi::Env env) { return env.Null(); });
    });
  };
}

ClientQuestion import_diff_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  return [handle = info[0].ToNumber().Uint32Value(), number = info[1].ToNumber().Uint32Value(),
          zero_unit = get_u64(info[2].As<Napi::Object>(), "sparseBytes"),
          progress = get_copy_progress(info[3], thread)](ClientState& state,
                                                         const Promise& promise) mutable {
    image::BlockDevice* const device = state.device(handle);
    const auto reader = state.diffs().find(number);
    if (device == nullptr || reader == nullptr)
      return promise.reject(Status(ErrorCode::not_found, "the image or the diff is closed"));
    state.run_copy(
        [&](qcow2::CopyDone done) {
          return diff::DiffImportJob::create(state.reactor(), *device, reader, zero_unit,
                                             std::move(done));
        },
        std::move(progress), copy_answer(promise));
  };
}

ClientTask close_diff_task(const Napi::CallbackInfo& info) {
  return [number = info[0].ToNumber().Uint32Value()](ClientState& state) {
    state.diffs().close(number);
  };
}

ClientQuestion merge_diffs_task(const Napi::CallbackInfo& info, CoreThread& thread) {
  return [first_fd = info[0].ToNumber().Int32Value(), second_fd = info[1].ToNumber().Int32Value(),
          out_fd = info[2].ToNumber().Int32Value(), progress = get_copy_progress(info[3], thread)](
             ClientState& state, const Promise& promise) mutable {
    auto first = diff::DiffReader::open(state.reactor(), first_fd);
    auto second = diff::DiffReader::open(state.reactor(), second_fd);
    if (!first) return promise.reject(first.status());
    if (!second) return promise.reject(second.status());
    state.run_copy(
        [&](qcow2::CopyDone done) {
          return diff::DiffMergeJob::create(state.reactor(), *first, *second, out_fd,
                                            std::move(done));
        },
        std::move(progress), copy_answer(promise));
  };
}

}  // namespace cairn::binding
