/* A plain C client of Channel Access: reads PVs with their limits, or puts a value and waits for the answer.
 *
 *   ca_client NAME...            one line a PV: name|access|value|units|low|high|severity
 *   ca_client -put NAME VALUE    one line: what the server answered
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cadef.h>

static int answered = 0;

static void on_put(struct event_handler_args args)
{
    printf("%s\n", args.status == ECA_NORMAL ? "done" : ca_message(args.status));
    answered = 1;
}

static const char *access_of(chid channel)
{
    return ca_write_access(channel) ? "rw" : ca_read_access(channel) ? "r" : "none";
}

static int show(const char *name, chid channel)
{
    struct dbr_ctrl_double number;
    struct dbr_sts_string text;
    int kind = ca_field_type(channel), status;
    if (kind == DBF_DOUBLE || kind == DBF_LONG) {
        status = ca_get(DBR_CTRL_DOUBLE, channel, &number);
        if (status != ECA_NORMAL || ca_pend_io(10.0) != ECA_NORMAL) return 1;
        printf("%s|%s|%.17g|%s|%g|%g|%d\n", name, access_of(channel), number.value, number.units,
               number.lower_disp_limit, number.upper_disp_limit, number.severity);
    } else {
        status = ca_get(DBR_STS_STRING, channel, &text);
        if (status != ECA_NORMAL || ca_pend_io(10.0) != ECA_NORMAL) return 1;
        printf("%s|%s|%s||||%d\n", name, access_of(channel), text.value, text.severity);
    }
    return 0;
}

int main(int argc, char **argv)
{
    int put = argc == 4 && strcmp(argv[1], "-put") == 0, i, waited;
    chid channel;
    if (argc < 2 || ca_context_create(ca_disable_preemptive_callback) != ECA_NORMAL) return 2;
    for (i = put ? 2 : 1; i < (put ? 3 : argc); i++) {
        if (ca_create_channel(argv[i], NULL, NULL, 0, &channel) != ECA_NORMAL || ca_pend_io(10.0) != ECA_NORMAL) {
            printf("%s|not connected\n", argv[i]);
            return 1;
        }
        if (!put) {
            if (show(argv[i], channel)) return 1;
            continue;
        }
        double value = atof(argv[3]);
        int status = ca_put_callback(DBR_DOUBLE, channel, &value, on_put, NULL);
        if (status != ECA_NORMAL) {
            printf("%s\n", ca_message(status));
            continue;
        }
        for (waited = 0; !answered && waited < 100; waited++) ca_pend_event(0.1);
    }
    ca_context_destroy();
    return 0;
}
