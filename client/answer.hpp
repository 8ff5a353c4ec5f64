// SPDX-License-Identifier: Apache-2.0
// Reads answers of imaged as the structs of lib/job that describe them. What is absent, or of another type than
// expected, is at its default.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bus/dictionary.hpp"
#include "job/answers.hpp"
#include "job/fields.hpp"

namespace imagectl {

template <typename Answer>
Answer read_answer(const Dictionary& dictionary);

class AnswerReader : public imaged::job::FieldVisitor<AnswerReader> {
public:
    explicit AnswerReader(const Dictionary& from) : from_(from) {}

    // True if KEY is there.
    bool operator()(const char* key, std::string& value) { return take(value, from_.text(key)); }
    bool operator()(const char* key, bool& value) { return take(value, from_.flag(key)); }
    bool operator()(const char* key, std::uint64_t& value) { return take(value, from_.number(key)); }
    bool operator()(const char* key, std::uint32_t& value) { return take(value, from_.number(key)); }
    bool operator()(const char* key, std::vector<std::string>& value) { return take(value, from_.words(key)); }
    bool operator()(const char* key, std::map<std::string, std::string>& value) {
        return take(value, from_.texts(key));
    }
    bool operator()(const char* key, imaged::job::FilteredPaths& value) { return take(value, from_.counts(key)); }
    template <imaged::job::HasFields Record>
    bool operator()(const char* key, Record& value) {
        const auto record = from_.dictionary(key);
        value = read_answer<Record>(record);
        return !record.empty();
    }
    template <imaged::job::HasFields Record>
    bool operator()(const char* key, std::vector<Record>& value) {
        for (const auto& record : from_.list(key)) value.push_back(read_answer<Record>(record));
        return !value.empty();
    }
    template <typename Value>
    bool operator()(const char* key, std::optional<Value>& value) {
        if (!(*this)(key, value.emplace())) value.reset();
        return value.has_value();
    }

private:
    template <typename Value, typename Found>
    static bool take(Value& value, std::optional<Found> found) {
        if (found) value = static_cast<Value>(*std::move(found));
        return found.has_value();
    }
    template <typename Value>
    static bool take(Value& value, Value found) {
        value = std::move(found);
        return !value.empty();
    }

    const Dictionary& from_;
};

template <typename Answer>
Answer read_answer(const Dictionary& dictionary) {
    Answer answer;
    AnswerReader reader(dictionary);
    Answer::fields(answer, reader);
    return answer;
}

}  // namespace imagectl
