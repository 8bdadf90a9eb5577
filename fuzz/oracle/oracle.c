/* One message read by llhttp, strictly; what it says of it goes to `on`. Only C can lay out llhttp's structures. */
#include <stddef.h>
#include <stdint.h>

#include "llhttp.h"

enum part { METHOD, TARGET, NAME, NAME_END, VALUE, VALUE_END, HEAD_END, DATA, MESSAGE_END };

typedef void (*hear)(void *who, int part, const char *at, size_t length);

struct oracle_result {
  int error;         /* 0: all of the bytes are read, or the message up to its end */
  int status;        /* of an answer */
  size_t consumed;   /* bytes up to the end of the message; where it gave up */
  const char *why;   /* of an error */
};

struct session {
  llhttp_t parser; /* first: the callbacks get its address */
  hear on;
  void *who;
  int skips_body;
};

#define SPAN(name, part)                                                \
  static int name(llhttp_t *parser, const char *at, size_t length) {    \
    struct session *session = (struct session *)parser;                 \
    session->on(session->who, part, at, length);                        \
    return 0;                                                           \
  }
#define POINT(name, part, result)                        \
  static int name(llhttp_t *parser) {                    \
    struct session *session = (struct session *)parser;  \
    session->on(session->who, part, NULL, 0);            \
    return result;                                       \
  }

/* llhttp leaves this to its caller (RFC 9112 6.3). */
static int is_bodiless(llhttp_t *parser) {
  int status = llhttp_get_status_code(parser);
  return llhttp_get_type(parser) == HTTP_RESPONSE && (status / 100 == 1 || status == 204 || status == 304);
}

SPAN(on_method, METHOD)
SPAN(on_target, TARGET)
SPAN(on_name, NAME)
SPAN(on_value, VALUE)
SPAN(on_data, DATA)
POINT(on_name_end, NAME_END, 0)
POINT(on_value_end, VALUE_END, 0)
POINT(on_head_end, HEAD_END, session->skips_body || is_bodiless(parser))
POINT(on_message_end, MESSAGE_END, HPE_PAUSED)

void oracle_read(int is_answer, int skips_body, const char *bytes, size_t length, int finish, hear on, void *who,
                 struct oracle_result *result) {
  llhttp_settings_t settings;
  struct session session;
  llhttp_errno_t error;

  llhttp_settings_init(&settings);
  settings.on_method = on_method;
  settings.on_url = on_target;
  settings.on_header_field = on_name;
  settings.on_header_field_complete = on_name_end;
  settings.on_header_value = on_value;
  settings.on_header_value_complete = on_value_end;
  settings.on_headers_complete = on_head_end;
  settings.on_body = on_data;
  settings.on_message_complete = on_message_end;
  llhttp_init(&session.parser, is_answer ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
  session.on = on;
  session.who = who;
  session.skips_body = skips_body;

  error = llhttp_execute(&session.parser, bytes, length);
  result->consumed = error == HPE_OK ? length : (size_t)(llhttp_get_error_pos(&session.parser) - bytes);
  if (error == HPE_OK && finish) error = llhttp_finish(&session.parser);
  result->error = error == HPE_PAUSED || error == HPE_PAUSED_UPGRADE ? 0 : (int)error;
  result->status = is_answer ? llhttp_get_status_code(&session.parser) : 0;
  result->why = llhttp_get_error_reason(&session.parser);
}
