# Cases as JSON on standard input; for each whether the library takes it, as JSON on standard output.
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

def verify(case):
    try:
        Webhook(case["secret"]).verify(case["body"], case["headers"])
        return "verified"
    except WebhookVerificationError as error:
        return str(error)

json.dump([verify(case) for case in json.load(sys.stdin)], sys.stdout)
