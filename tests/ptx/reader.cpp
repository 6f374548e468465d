/* Splits a module's text into global variables and functions, and functions into statements. */
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "compiler.h"

namespace ptx {

namespace {

/* Comments become spaces; lines stay. */
std::string without_comments(const std::string &text) {
    std::string clean;
    clean.reserve(text.size());
    for (size_t i = 0; i < text.size(); i++) {
        if (text.compare(i, 2, "//") == 0) {
            while (i < text.size() && text[i] != '\n') i++;
        } else if (text.compare(i, 2, "/*") == 0) {
            for (i += 2; i < text.size() && text.compare(i, 2, "*/") != 0; i++)
                if (text[i] == '\n') clean += '\n';
            i++;
            continue;
        }
        if (i < text.size()) clean += text[i];
    }
    return clean;
}

class Cursor {
  public:
    explicit Cursor(const std::string &of) : text(of) {}

    bool at_end() {
        while (at < text.size() && isspace((unsigned char)text[at])) next();
        return at >= text.size();
    }
    char peek() const { return at < text.size() ? text[at] : '\0'; }
    char next() {
        line += text[at] == '\n';
        return text[at++];
    }
    bool starts(const char *start) const { return text.compare(at, strlen(start), start) == 0; }
    /* Up to the first of these characters, which is taken as `stop`. */
    std::string until(const char *characters, char *stop) {
        std::string taken;
        while (at < text.size() && !strchr(characters, text[at])) taken += next();
        if (at >= text.size()) refuse("the text ends early", taken);
        *stop = next();
        return taken;
    }
    /* A statement: up to ; or to the : of a label, outside quotes. */
    std::string statement(StatementKind *kind) {
        std::string taken;
        bool quoted = false;
        for (; at < text.size(); taken += next()) {
            if (text[at] == '"') quoted = !quoted;
            if (quoted) continue;
            const bool label = text[at] == ':' && text[at + 1] != ':' && text[at - 1] != ':';
            if (text[at] == ';' || label) {
                *kind = label ? LABEL : STATEMENT;
                next();
                return strip(taken);
            }
        }
        refuse("a statement has no end", taken);
    }
    int line = 1;

  private:
    const std::string &text;
    size_t at = 0;
};

std::vector<Statement> read_body(Cursor &cursor) {
    std::vector<Statement> body;
    for (int depth = 1; depth;) {
        if (cursor.at_end()) refuse("a function has no end", "line " + std::to_string(cursor.line));
        const int line = cursor.line;
        if (cursor.peek() == '{') {
            depth++;
            cursor.next();
            body.push_back({"", OPEN, line});
        } else if (cursor.peek() == '}') {
            cursor.next();
            if (--depth) body.push_back({"", CLOSE, line});
        } else {
            StatementKind kind;
            const std::string text = cursor.statement(&kind);
            body.push_back({text, kind, line});
        }
    }
    return body;
}

/* ".visible .entry name(parameters) .maxntid 256": all but the body. */
Source read_header(const std::string &text) {
    Source source;
    source.entry = text.find(".entry") != std::string::npos;
    const char *const word = source.entry ? ".entry" : ".func";
    std::string rest = strip(text.substr(text.find(word) + strlen(word)));
    if (rest[0] == '(') {
        const size_t close = rest.find(')');
        source.returns = strip(rest.substr(1, close - 1));
        rest = strip(rest.substr(close + 1));
    }
    const size_t open = rest.find('('), close = rest.find(')');
    if (open == std::string::npos) {
        source.name = words(rest)[0];
        source.attributes = rest.substr(source.name.size());
    } else {
        source.name = strip(rest.substr(0, open));
        source.parameters = strip(rest.substr(open + 1, close - open - 1));
        source.attributes = strip(rest.substr(close + 1));
    }
    return source;
}

/* "{1, 2, 3}" of a .b8 array. */
std::vector<uint8_t> initial_bytes(const std::string &statement, const std::string &values, size_t bytes) {
    std::vector<uint8_t> initial(bytes, 0);
    if (values.empty()) return initial;
    if (statement.find(".b8") == std::string::npos) refuse("initial values of other than bytes", statement);
    size_t count = 0;
    for (const auto &value : split(values.substr(1, values.size() - 2), ','))
        if (count < bytes) initial[count++] = (uint8_t)strtoul(value.c_str(), nullptr, 0);
    return initial;
}

} // namespace

void Compiler::read(const std::string &text) {
    Cursor cursor(text);
    while (!cursor.at_end()) {
        char stop;
        if (cursor.starts(".version") || cursor.starts(".target") || cursor.starts(".address_size")) {
            cursor.until("\n", &stop);
            continue;
        }
        std::string header = cursor.until("{;=", &stop);
        const bool function = header.find(".entry") != std::string::npos || header.find(".func") != std::string::npos;
        if (function && stop == ';') continue; /* a prototype */
        if (function) {
            Source source = read_header(header);
            source.body = read_body(cursor);
            if (source.entry) entries.push_back(source.name);
            sources[source.name] = source;
            continue;
        }
        std::string values;
        if (stop == '=') values = strip(cursor.until(";", &stop));
        if (stop != ';') refuse("unknown declaration", header);
        const Declaration declared = read_declaration(header);
        if (header.find(".shared") != std::string::npos) {
            const bool dynamic = header.find(".extern") != std::string::npos;
            globals[declared.name] = {SHARED, 0, dynamic, declared.align, declared.bytes};
        } else {
            const auto initial = initial_bytes(header, values, (size_t)declared.bytes);
            const uint64_t address = place_global((size_t)declared.bytes, (size_t)declared.align, initial.data());
            globals[declared.name] = {GLOBAL, (int64_t)address, false};
        }
    }
}

Module *read_module(const std::string &path, PlaceGlobal place_global) {
    std::ifstream in(path);
    std::stringstream all;
    all << in.rdbuf();
    Module *module = new Module;
    module->path = path;
    Compiler compiler(module, place_global);
    compiler.read(without_comments(all.str()));
    for (const auto &name : compiler.entries) module->functions[name] = compiler.compile(compiler.sources[name]);
    return module;
}

} // namespace ptx
